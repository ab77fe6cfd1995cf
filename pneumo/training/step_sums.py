"""Sums over the steps of an epoch: the loss curves, and whether the state is fit to be saved.

A step whose loss or gradient is not finite makes the weights NaN while the losses may stay finite. Looking at each step
would make the host wait for the device, so that the sums are looked at every few steps, and before each save: what is
not finite in one step is not finite in the sum.
"""

from collections.abc import Mapping

import torch

from pneumo.distributed.collectives import Group
from pneumo.modeling.losses.loss import SUMS
from pneumo.modeling.losses.registry import LossConfig
from pneumo.runtime.errors import UserError
from pneumo.training.train_state import StepResult

CONSISTENCY = "consistency"
OF_STEPS = ("gradient_norm", "steps")
NAMES = (*SUMS, *OF_STEPS)
"""The losses of all images; the global norm of each step's gradient; the steps that were not skipped."""


class StepSums:
    """The sums of the epoch so far.

    Args:
        group: The ranks that share a step.
        fold: Number of the fold, for messages.
        batch_size: Images in a step, over all ranks.
        unlabeled: Unlabeled images beside them, whose losses have a sum of their own.
    """

    def __init__(self, group: Group, fold: int, batch_size: int, unlabeled: int = 0) -> None:
        self.group, self.fold = group, fold
        self._images = dict.fromkeys(SUMS, batch_size) | ({CONSISTENCY: unlabeled} if unlabeled else {})
        self._names = (*self._images, *OF_STEPS)
        self.reset()

    def reset(self) -> None:
        """Begin an epoch."""
        # Of this rank's images; what is the same on all ranks is counted by the leader.
        self._sums = torch.zeros(len(self._names), device=self.group.device)
        self._logged = dict.fromkeys(self._names, 0.0)

    def add(self, result: StepResult) -> None:
        """Add a step, unless it was skipped."""
        if not result.skipped:
            losses = len(self._images)
            self._sums[:losses] += result.loss_sums
            if self.group.is_leader:
                self._sums[losses] += result.gradient_norm
                self._sums[losses + 1] += 1

    def totals(self, step: int) -> dict[str, float]:
        """Return the sums over all ranks, by name. Collective.

        Args:
            step: Steps done, for messages.

        Raises:
            UserError: When a loss or the gradient of a step was not finite.
        """
        values = self.group.to_host(self.group.all_reduce_sum_(self._sums.clone())).tolist()
        totals = dict(zip(self._names, values, strict=True))
        broken = [name for name, value in totals.items() if not abs(value) < float("inf")]
        if broken:
            what = "gradient" if broken == ["gradient_norm"] else "loss"
            raise UserError(
                f"the {what} of fold {self.fold} is not finite at step {step}",
                f"a finite {what}",
                f"lower --learning-rate or set --precision fp32, in a new --run; no checkpoint has this {what}",
            )
        return totals

    def means(self, step: int) -> dict[str, float]:
        """Return the mean losses over the epoch's images so far, and the mean norm of the gradient. Collective."""
        return self._means(self.totals(step))

    def means_since_last(self, step: int) -> dict[str, float]:
        """Return the means over the steps since the last call in this epoch. Collective."""
        totals, before = self.totals(step), self._logged
        self._logged = totals
        return self._means({name: total - before[name] for name, total in totals.items()})

    def _means(self, totals: Mapping[str, float]) -> dict[str, float]:
        steps = max(totals["steps"], 1.0)
        losses = {name: totals[name] / (steps * images) for name, images in self._images.items()}
        return losses | {"gradient_norm": totals["gradient_norm"] / steps}

    def restore(self, totals: Mapping[str, float], loss: LossConfig) -> None:
        """Continue from the sums of a checkpoint, which are of all ranks.

        A term without a sum is newer than the checkpoint: its weight is 0, and so is its sum.

        Raises:
            ValueError: When there is an unknown sum, or one is missing.
        """
        unknown = totals.keys() - set(self._names)
        if unknown:
            raise ValueError(f"this version of pneumo has no loss term {min(unknown)!r}")
        for name in self._names:
            if name not in totals and getattr(loss, name, 1) > 0:
                raise ValueError(f"step_sums.{name} is missing")
        self.reset()
        if self.group.is_leader:
            # They are summed over the ranks again.
            self._sums += torch.tensor([totals.get(name, 0.0) for name in self._names], device=self.group.device)
        self._logged |= totals
