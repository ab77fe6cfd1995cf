"""What training changes in a fold (network, averaged weights, optimizer), and one optimizer step."""

import copy
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from pneumo.distributed import heartbeat
from pneumo.distributed.collectives import Group
from pneumo.distributed.device import resolve_precision
from pneumo.distributed.world import World
from pneumo.inference.build import make_autocast
from pneumo.loading.contract import Batch
from pneumo.modeling import models
from pneumo.modeling.ema import Ema
from pneumo.modeling.frozen_batch_norm import freeze
from pneumo.modeling.losses.loss import SUMS, loss
from pneumo.modeling.segmenter import SegmenterOutput
from pneumo.runtime.errors import UserError
from pneumo.training import consistency, optimizer
from pneumo.training.batch_norm import StepStatistics
from pneumo.training.checkpoint import Snapshot, Tensors
from pneumo.training.compilation import compile_network
from pneumo.training.loss_scaling import LossScaling
from pneumo.training.pass_size import PassSize
from pneumo.training.recipe import Recipe


class StepResult(NamedTuple):
    """What one optimizer step gives, on the device."""

    loss_sums: torch.Tensor
    """Sums of the losses over this rank's images, in the order of ``losses.loss.SUMS``; if the recipe has unlabeled
    images, behind them the sum of the consistency losses of these, before the ramp-up."""
    gradient_norm: torch.Tensor
    """(): global norm of the gradient before clipping, the same on every rank."""
    skipped: bool
    """Whether the step overflowed fp16 and changed nothing."""


class TrainState:
    """The network of one fold with its averaged weights and its optimizer.

    Args:
        recipe: What to train.
        seed: Seed of the fold, for the initial weights and dropout.
        world: Device.
        group: The ranks that share a step, at most one for each micro-batch.
        images_at_once: Images in one forward pass, see ``PassSize``.

    Raises:
        UserError: When the device does not have the precision, or the network cannot have so many images at once.
    """

    def __init__(self, recipe: Recipe, seed: int, world: World, group: Group, images_at_once: int = 0) -> None:
        assert group.size <= recipe.micro_batches, "plan_waves divides the ranks"
        self.recipe, self.seed, self.group = recipe, seed, group
        precision = resolve_precision(recipe.precision, world.device)
        self.device, self.autocast = world.device, make_autocast(precision, world.device)
        torch.manual_seed(seed)
        self.model = models.build(recipe.model)
        if recipe.freeze_encoder_norm:
            freeze(self.model.net.encoder)  # type: ignore[arg-type]
        self.passes = PassSize(self.model, recipe, group, images_at_once)
        self.model = self.model.to(world.device)
        if recipe.channels_last:
            # The weights alone: in an image of one channel both memory formats have the same order, and the first
            # convolution converts its input to the format of its weights, which all that follows keeps.
            self.model = self.model.to(memory_format=torch.channels_last)
        # In training mode, as it is built, but for layers that are frozen.
        self.network = self._wrap(self.model)
        self.statistics = StepStatistics(self.model, group, recipe.micro_batches)
        self.scaling = LossScaling(group, fp16=precision == "fp16")
        self._reset_optimizer_and_ema()

    def _wrap(self, model: nn.Module) -> nn.Module:
        network = compile_network(model, self.device) if self.recipe.compile else model
        if self.group.size == 1:
            return network
        # It compares the ranks' parameters and copies those of the first.
        with warnings.catch_warnings(), heartbeat.waiting():
            # Its successor, forward_sync_buffers, does not exist in the oldest torch that this runs with.
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
            return DistributedDataParallel(
                network,
                process_group=self.group.tensor_group,
                # StepStatistics averages the running statistics over the step instead.
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
            )

    def _reset_optimizer_and_ema(self) -> None:
        """Start a stage with a new optimizer, and averaged weights that equal the current ones."""
        self.ema = Ema(self.model, self.recipe.ema_decay)
        self.swa: AveragedModel | None = None
        self.optimizer = optimizer.build(self.model, self.recipe)
        self.best: Tensors | None = None

    @property
    def averaged(self) -> nn.Module:
        """The network with the averaged weights, which validation and inference use."""
        return self.ema.model if self.swa is None else self.swa.module

    def add_to_swa(self) -> None:
        """Average the current weights in, evenly with those of the calls before (Izmailov et al., 2018).

        Its batch-norm statistics are the model's until ``batch_norm.estimate_statistics`` computes its own.
        """
        if self.swa is None:
            self._start_swa()
        assert self.swa is not None
        self.swa.update_parameters(self.model)

    def _start_swa(self) -> None:
        self.swa = AveragedModel(self.model)
        self.swa.eval().requires_grad_(False)

    @property
    def micro_batch_indices(self) -> range:
        """Indices, within a step, of this rank's micro-batches."""
        return range(self.group.rank, self.recipe.micro_batches, self.group.size)

    @property
    def unlabeled_indices(self) -> range:
        """Indices, within a step, of this rank's micro-batches of unlabeled images.

        They are dealt out behind the labeled ones, so that no rank has more than one more than another of both.
        """
        first = (self.group.rank - self.recipe.micro_batches) % self.group.size
        return range(first, self.recipe.unlabeled_micro_batches, self.group.size)

    def step(
        self,
        micro_batches: Sequence[Batch],
        global_step: int,
        learning_rate: float,
        unlabeled: Sequence[Batch] = (),
        ramp_up: float = 1.0,
    ) -> StepResult:
        """Do one optimizer step.

        Args:
            micro_batches: This rank's micro-batches, in the order of ``micro_batch_indices``.
            global_step: Optimizer steps done before, over all stages; dropout depends on it.
            learning_rate: The step's learning rate.
            unlabeled: This rank's micro-batches of unlabeled images, in the order of ``unlabeled_indices``.
            ramp_up: Factor of their loss, see ``consistency.ramp_up``.

        Raises:
            UserError: When too many steps in a row overflowed fp16.
        """
        sums = torch.zeros(len(SUMS), device=self.device)
        optimizer.set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        self.statistics.begin_step()
        indices, image_size = self.micro_batch_indices, micro_batches[0].image.shape[-1]
        assert len(micro_batches) == len(indices)
        at_once = self.passes.begin_step(image_size)
        disagreement = self._learn_from_teacher(unlabeled, global_step, at_once, ramp_up)
        for first in range(0, len(indices), at_once):
            part = micro_batches[first : first + at_once]
            seed_step(self.seed, global_step, indices[first])
            with self._gradient_exchange(last=first + at_once >= len(indices)):
                sums += self._backward(_join(part))
            # After the backward pass, which still reads the buffers of the forward pass.
            self.statistics.end_pass(len(part))
        self.statistics.end_step()
        self.passes.end_step(image_size)
        if self.recipe.consistency.images:
            sums = torch.cat([sums, disagreement[None]])
        norm, skipped = self.scaling.update(self.optimizer, self.model.parameters(), sums, self.recipe.clip_norm)
        if skipped:
            self.statistics.undo_step()
        else:
            self.ema.update(self.model)
        return StepResult(sums, norm, skipped)

    def _forward(self, image: torch.Tensor) -> SegmenterOutput:
        try:
            with self.autocast():
                return self.network(image)  # type: ignore[no-any-return]
        except (ValueError, RuntimeError) as error:
            # torch's own check in batch normalization, whose variance of one value would be 0; a compiled network's
            # error is one of the compiler with the same text.
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                f"--micro-batch-size {self.recipe.micro_batch_size} at {image.shape[-1]} px gives a batch normalization"
                " one value",
                "two values or more in each channel",
                "set --micro-batch-size 2 or more, or a larger --image-size, in a new --run",
            ) from error

    def _backward(self, batch: Batch) -> torch.Tensor:
        output = self._forward(batch.image)
        losses = loss(output, batch.mask, self.recipe.loss, self.recipe.micro_batch_size)
        # DDP averages gradients over ranks: multiplied by the number of ranks and divided by the global batch, that is
        # the gradient of the global batch's mean.
        scaled = losses.total.sum() * (self.group.size / self.recipe.batch_size)
        # DDP exchanges gradients during the backward pass, which takes as long as that of the slowest rank.
        with heartbeat.waiting() if self.group.size > 1 else nullcontext():
            torch.autograd.backward(self.scaling.scale(scaled))
        return losses.sums()

    def _learn_from_teacher(
        self, unlabeled: Sequence[Batch], global_step: int, at_once: int, ramp_up: float
    ) -> torch.Tensor:
        """Add the gradient of unlabeled images to this rank's, before any is exchanged; return their summed loss."""
        total = torch.zeros((), device=self.device)
        indices, config = self.unlabeled_indices, self.recipe.consistency
        assert len(unlabeled) == len(indices)
        for first in range(0, len(indices), at_once):
            image = _join(unlabeled[first : first + at_once]).image
            target = consistency.teach(self.ema.model, image, self.autocast)
            seed_step(self.seed, global_step, self.recipe.micro_batches + indices[first])
            with self._gradient_exchange(last=False):
                losses = consistency.consistency_loss(self._forward(image), target, config)
                # As in _backward: the gradient of the mean over the unlabeled images of all ranks.
                scaled = losses.sum() * (ramp_up * self.group.size / config.images)
                torch.autograd.backward(self.scaling.scale(scaled))
            self.statistics.discard_pass()
            total += losses.detach().sum()
        return total

    def _gradient_exchange(self, *, last: bool) -> AbstractContextManager[None]:
        """Let DDP exchange gradients in the last backward pass of a step only."""
        if isinstance(self.network, DistributedDataParallel) and not last:
            return self.network.no_sync()
        return nullcontext()

    def snapshot_best(self) -> None:
        """Keep a copy of the averaged weights as the stage's best."""
        self.best = copy.deepcopy(self.averaged.state_dict())

    def start_next_stage(self) -> None:
        """Continue with the stage's best or last averaged weights, a new optimizer and a new average."""
        weights = self.best if self.best is not None else self.averaged.state_dict()
        self.model.load_state_dict(copy.deepcopy(weights))
        self._reset_optimizer_and_ema()

    def weights(self) -> dict[str, Tensors]:
        """Return the sets of weights for a checkpoint."""
        sets: dict[str, Tensors] = {"model": self.model.state_dict(), "ema": self.ema.model.state_dict()}
        if self.swa is not None:
            sets["swa"] = self.swa.module.state_dict()
        return sets if self.best is None else {**sets, "best": self.best}

    def optimizer_state(self) -> dict[str, object]:
        """Return what a checkpoint needs beside the weights."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaling.scaler.state_dict(),
            "ema_updates": self.ema.updates,
            "swa_updates": 0 if self.swa is None else int(self.swa.n_averaged),
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Load the weights and the optimizer's state of a checkpoint.

        Raises:
            Exception: Of many kinds, when it is not a checkpoint of this recipe.
        """
        self.model.load_state_dict(snapshot.weights["model"])
        self.ema.restore(snapshot.weights["ema"], snapshot.optimizer["ema_updates"])
        if "swa" in snapshot.weights:
            self._start_swa()
            assert self.swa is not None
            self.swa.module.load_state_dict(snapshot.weights["swa"])
            self.swa.n_averaged.fill_(snapshot.optimizer["swa_updates"])
        self.best = snapshot.weights.get("best")
        optimizer.load(self.optimizer, snapshot.optimizer["optimizer"])
        self.scaling.scaler.load_state_dict(snapshot.optimizer["scaler"])


def _join(batches: Sequence[Batch]) -> Batch:
    """Return the batches as one."""
    if len(batches) == 1:
        return batches[0]
    return Batch(
        image=torch.cat([batch.image for batch in batches]),
        mask=torch.cat([batch.mask for batch in batches]),
        rows=np.concatenate([batch.rows for batch in batches]),
    )


def seed_step(seed: int, *counters: int) -> None:
    """Seed torch as a pure function of (seed, counters).

    Called before each forward pass, so that dropout needs no saved random state and does not depend on the number
    of ranks: a network with dropout has a pass for each micro-batch.
    """
    words = np.random.SeedSequence([seed, *counters]).generate_state(2)
    value = int(words[0]) << 32 | int(words[1])
    # As torch.manual_seed, which also formats the call stack where CUDA has not been started, .4 ms.
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(value)
