"""Several networks of a fold as one: the mean of their probabilities, with one state, in one file of weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pneumo.modeling.segmenter import SegmenterOutput


class MeanSegmenter(nn.Module):
    """The logits of the mean of the members' probabilities, in float32.

    Predictions are averaged, not weights. In the state, ``members.0`` and so on are before the names of a network.

    Args:
        members: Networks of the same outputs.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> SegmenterOutput:
        """Segment images (N, 1, H, W) in [0, 1]; see ``Segmenter``."""
        outputs = [member(image) for member in self.members]
        logits = _mean([output.logits for output in outputs])
        presence = [output.presence_logit for output in outputs if output.presence_logit is not None]
        return SegmenterOutput(logits, _mean(presence) if presence else None)


def _mean(logits: Sequence[Tensor]) -> Tensor:
    """Return the logit of the mean probability; of 0 and 1 it is infinite, as their sigmoid expects."""
    total = torch.sigmoid(logits[0].float())
    for each in logits[1:]:
        total = total + torch.sigmoid(each.float())
    probability = total / len(logits)
    return probability.log() - torch.log1p(-probability)
