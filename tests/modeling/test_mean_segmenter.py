"""Several networks as one: the plain mean of their probabilities, and one state."""

import pytest
import torch
from torch import nn

from pneumo.modeling.mean_segmenter import MeanSegmenter
from pneumo.modeling.segmenter import SegmenterOutput


class Fixed(nn.Module):
    """A network that gives the same logits for every image."""

    def __init__(self, logit: float, presence: float | None) -> None:
        super().__init__()
        self.logit, self.presence = logit, presence

    def forward(self, image: torch.Tensor) -> SegmenterOutput:
        presence = None if self.presence is None else torch.full((len(image),), self.presence)
        return SegmenterOutput(torch.full_like(image, self.logit), presence)


@pytest.mark.parametrize("head", [False, True])
def test_its_probabilities_are_the_mean_of_the_members(head: bool) -> None:
    logits = [-9.0, 0.5, 4.0]
    mean = MeanSegmenter([Fixed(logit, logit - 1 if head else None) for logit in logits])
    found = mean(torch.zeros(2, 1, 3, 3))
    expected = torch.tensor(logits, dtype=torch.float64).sigmoid().mean()
    torch.testing.assert_close(found.logits.double().sigmoid(), expected.expand(2, 1, 3, 3), rtol=1e-6, atol=0)
    if head:
        expected = (torch.tensor(logits, dtype=torch.float64) - 1).sigmoid().mean()
        torch.testing.assert_close(found.presence_logit.double().sigmoid(), expected.expand(2), rtol=1e-6, atol=0)
    else:
        assert found.presence_logit is None


@pytest.mark.parametrize("level", [-200.0, 200.0])
def test_certain_members_give_probabilities_of_0_and_1(level: float) -> None:
    found = MeanSegmenter([Fixed(level, level), Fixed(level, level)])(torch.zeros(1, 1, 2, 2))
    assert torch.sigmoid(found.logits).unique().tolist() == [float(level > 0)]
