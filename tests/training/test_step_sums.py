"""Sums of an epoch: means in closed form, what is not finite, and the sums of a checkpoint."""

from dataclasses import dataclass

import pytest
import torch

from pneumo.distributed.collectives import Group
from pneumo.modeling.losses.loss import SUMS
from pneumo.modeling.losses.registry import LossConfig
from pneumo.runtime.errors import UserError
from pneumo.training.step_sums import NAMES, StepSums
from pneumo.training.train_state import StepResult

LOSS = LossConfig(bce=1.0, dice=1.0, focal=0.0, presence=0.0)
BATCH = 4


@dataclass(frozen=True, kw_only=True)
class Twin(Group):
    """A rank whose other rank has the same sums, as far as it counts any."""

    def all_reduce_sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        tensor[: len(SUMS)] *= 2
        return tensor


def sums(group: Group | None = None) -> StepSums:
    return StepSums(group or Group(rank=0, size=1, device=torch.device("cpu")), 3, BATCH)


def result(loss: float, norm: float = 1.0, *, skipped: bool = False) -> StepResult:
    return StepResult(torch.full((len(SUMS),), loss), torch.tensor(norm), skipped)


def test_means_are_over_images_and_norms_over_steps() -> None:
    epoch = sums()
    epoch.add(result(8.0, 1.0))
    epoch.add(result(4.0, 2.0))
    assert epoch.means(2) == {**dict.fromkeys(SUMS, 1.5), "gradient_norm": 1.5}
    epoch.reset()
    assert epoch.means(2) == {**dict.fromkeys(SUMS, 0.0), "gradient_norm": 0.0}


def test_losses_are_summed_over_ranks_and_the_norm_is_that_of_one() -> None:
    epoch = sums(Twin(rank=0, size=2, device=torch.device("cpu")))
    epoch.add(result(4.0, 3.0))
    assert epoch.means(1) == {**dict.fromkeys(SUMS, 2.0), "gradient_norm": 3.0}
    follower = sums(Group(rank=1, size=2, device=torch.device("cpu")))
    follower.add(result(4.0, 3.0))
    assert [follower.totals(1)[name] for name in ("gradient_norm", "steps")] == [0.0, 0.0]


def test_unlabeled_images_have_a_mean_of_their_own() -> None:
    alone = Group(rank=0, size=1, device=torch.device("cpu"))
    first, restored = StepSums(alone, 3, BATCH, unlabeled=2), StepSums(alone, 3, BATCH, unlabeled=2)
    first.add(StepResult(torch.tensor([4.0] * len(SUMS) + [6.0]), torch.tensor(3.0), False))
    means = {**dict.fromkeys(SUMS, 1.0), "consistency": 3.0, "gradient_norm": 3.0}
    assert first.means(1) == means
    restored.restore(first.totals(1), LOSS)
    assert restored.means(1) == means
    with pytest.raises(ValueError, match=r"^step_sums\.consistency is missing$"):
        restored.restore(dict.fromkeys(NAMES, 1.0), LOSS)
    first.add(StepResult(torch.tensor([4.0] * len(SUMS) + [torch.nan]), torch.tensor(3.0), False))
    with pytest.raises(UserError, match="the loss of fold 3 is not finite"):
        first.totals(2)


def test_a_skipped_step_counts_nowhere() -> None:
    epoch = sums()
    epoch.add(result(8.0, 1.0))
    epoch.add(result(float("nan"), float("inf"), skipped=True))
    assert epoch.means(2) == {**dict.fromkeys(SUMS, 2.0), "gradient_norm": 1.0}


def test_a_curve_s_points_are_means_over_the_steps_between_them() -> None:
    epoch = sums()
    points = []
    for values in [(4.0, 8.0), (12.0, 16.0)]:
        for value in values:
            epoch.add(result(value, value))
        points.append(epoch.means_since_last(0))
    assert [(point["total"], point["gradient_norm"]) for point in points] == [(1.5, 6.0), (3.5, 14.0)]
    epoch.reset()
    epoch.add(result(4.0))
    assert epoch.means_since_last(5)["total"] == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("later", [0, 2])
def test_one_step_that_is_not_finite_is_found_after_any_number_of_good_ones(value: float, later: int) -> None:
    for broken, what in [(result(value), "loss"), (result(1.0, value), "gradient")]:
        epoch = sums()
        for step in [result(1.0), broken, *[result(1.0)] * later]:
            epoch.add(step)
        text = (
            f"^the {what} of fold 3 is not finite at step 9; expected a finite {what}; .*no checkpoint has this {what}$"
        )
        with pytest.raises(UserError, match=text):
            epoch.totals(9)


def test_a_restored_epoch_has_the_same_means() -> None:
    epoch, restored = sums(), sums()
    for value in (1.0, 2.5):
        epoch.add(result(value, value))
    restored.restore(epoch.totals(2), LOSS)
    for one in (epoch, restored):
        one.add(result(8.0, 3.0))
    assert restored.means(3) == epoch.means(3)
    # The curve continues after the checkpoint.
    assert restored.means_since_last(3)["gradient_norm"] == 3.0


def test_a_follower_does_not_count_the_sums_of_all_ranks_again() -> None:
    follower = sums(Group(rank=1, size=2, device=torch.device("cpu")))
    follower.restore(dict.fromkeys(NAMES, 5.0), LOSS)
    assert set(follower.totals(0).values()) == {0.0}


def test_a_term_without_a_weight_may_be_newer_than_the_checkpoint() -> None:
    restored = sums()
    restored.restore({name: 6.0 for name in NAMES if name != "focal"}, LOSS)
    assert restored.totals(0) == {**dict.fromkeys(NAMES, 6.0), "focal": 0.0}


@pytest.mark.parametrize("name", ["total", "bce", "dice", "gradient_norm", "steps"])
def test_a_missing_sum_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^step_sums\.{name} is missing$"):
        sums().restore({key: 1.0 for key in NAMES if key != name}, LOSS)


def test_the_sum_of_an_unknown_term_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^this version of pneumo has no loss term 'boundary'$"):
        sums().restore({**dict.fromkeys(NAMES, 1.0), "boundary": 1.0}, LOSS)
