"""The optimizer's update, in fp16 with a scaled loss: a step that overflows is skipped, and too many end training.

fp16 ends at 65504. Small gradients are kept from vanishing by a scaled loss (Micikevicius et al., Mixed Precision
Training, 2018); torch's ``GradScaler`` halves the scale at each overflow and doubles it again after 2000 steps without.
The other precisions have the range of float32: there, an overflow is an error, which the loop finds.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pneumo.distributed.collectives import Group
from pneumo.runtime.errors import UserError

MAX_SKIPPED_IN_A_ROW = 20
"""The first scale is 2^16: after 20 overflows it is below 1, and its size cannot have been the cause."""
EPSILON = 1e-6
"""What torch adds to the norm before it divides by it."""


class LossScaling:
    """Scales the loss in fp16, and does the optimizer's update.

    Args:
        group: The ranks that share a step, and their device.
        fp16: Whether the network computes in fp16; otherwise nothing is scaled, and no step is skipped.
    """

    def __init__(self, group: Group, *, fp16: bool) -> None:
        self.group = group
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=fp16)
        self.skipped_in_a_row = 0

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss whose gradient is to be computed."""
        return self.scaler.scale(loss)

    def update(
        self, optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], loss_sums: Tensor, clip_norm: float
    ) -> tuple[Tensor, bool]:
        """Do the optimizer's update, unless fp16 overflowed. Collective over the group in fp16.

        Args:
            optimizer: Over the parameters with their gradients of the scaled loss.
            parameters: What is trained.
            loss_sums: This rank's losses of the step.
            clip_norm: Largest global norm of the gradient; 0 = no clipping.

        Returns:
            The global norm of the gradient before clipping, (), and whether the update was skipped.

        Raises:
            UserError: When too many steps in a row were skipped.
        """
        if self.scaler.is_enabled() and self.group.any_rank(not bool(loss_sums.isfinite().all())):
            # The gradient of a loss that is not finite may be finite, and is that of all ranks: so that all of them
            # skip the step, each gives its own an infinity.
            next(p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None).fill_(
                torch.inf
            )
        self.scaler.unscale_(optimizer)
        trained = list(parameters)
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        with clipped(optimizer, trained, norm, clip_norm):
            self.scaler.step(optimizer)
        self.scaler.update()
        skipped = self.scaler.is_enabled() and not bool(norm.isfinite())
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise UserError(
                f"{self.skipped_in_a_row} steps in a row overflowed fp16 (loss scale {self.scaler.get_scale():g})",
                "losses and gradients within the range of fp16",
                "set --precision bf16 or fp32, or lower --learning-rate, in a new --run",
            )
        return norm, skipped


@contextmanager
def clipped(
    optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], norm: Tensor, clip_norm: float
) -> Iterator[None]:
    """Let the optimizer's step within this context see the gradients scaled down to a global norm.

    As ``torch.nn.utils.clip_grads_with_norm_``. A fused optimizer divides by ``grad_scale`` as it reads the gradients,
    which saves a pass over them, and rounds otherwise in the last bit. The gradients of others are multiplied before.
    torch does either also where the factor is 1, and so it is done on a GPU: the host would have to wait for the norm.

    Args:
        optimizer: Over the parameters.
        parameters: What is trained.
        norm: The global norm of their gradients, ().
        clip_norm: Largest global norm; 0 = no clipping.
    """
    if not clip_norm or (norm.device.type == "cpu" and norm + EPSILON <= clip_norm):
        yield
    elif getattr(optimizer, "_step_supports_amp_scaling", False):
        # The attribute by which ``GradScaler`` has them unscaled; it takes one that is set already into account.
        optimizer.grad_scale = ((norm + EPSILON) / clip_norm).clamp_(min=1)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            # A scaler has removed it after the step.
            vars(optimizer).pop("grad_scale", None)
    else:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
        yield
