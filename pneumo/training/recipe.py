"""The recipe: all settings that determine what a run computes, in one frozen dataclass.

Two runs with the same recipe and the same dataset give the same result; settings that do not change the result (number
of ranks, workers, how often to save) are not in it.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Interval, MinLen, MultipleOf

from pneumo.inference.config import InferenceConfig, Precision, View
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.loading.kind import LoaderKind
from pneumo.modeling.config import NAME, NAME_IN_WORDS, ModelConfig
from pneumo.modeling.losses.registry import LossConfig
from pneumo.runtime.config import MAX_SHOWN_LENGTH, config_dataclass, flag, invalid_value
from pneumo.runtime.ranges import Fraction, FractionBelowOne, PositiveFraction, ReferenceArea, Seed
from pneumo.training import consistency_config
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.pseudo_label_config import PseudoLabelConfig
from pneumo.training.schedule import Plateau, ScheduleKind

ImageSize = Annotated[int, MultipleOf(32), Interval(ge=32, le=4096)]
"""Pixels."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of training at one image size, with its own warm-up and schedule."""

    index: int
    epochs: int
    image_size: int
    positive_rate: tuple[float, float] | None
    """Fraction of positives in the stage's first and last epoch, or None for each sample once per epoch."""
    learning_rate: float
    schedule: ScheduleKind = "cosine"
    crop_size: int | None = None
    """Height and width of what a training step sees of an image, or None for all of it."""

    def positive_rate_at(self, epoch: int) -> float | None:
        """Return the positive rate of an epoch of the stage (from 0), which changes linearly over the stage."""
        if self.positive_rate is None:
            return None
        first, last = self.positive_rate
        return first + (last - first) * (epoch / max(self.epochs - 1, 1))


@config_dataclass
class Recipe:
    """The recipe. Fields marked "per stage" take one value for all stages or one for each."""

    name: tyro.conf.Suppress[str] = "best"
    """Name of the recipe that this one is based on."""
    seed: Seed = 0
    """Seed of the sampler, the augmentation, the initial weights and dropout."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Architecture, encoder, and the source of its initial weights."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the loss's terms."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Probabilities and ranges of the random changes to a training image."""
    pseudo_labels: PseudoLabelConfig = field(default_factory=PseudoLabelConfig)
    """How the predictions of --teacher are used as labels."""
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    """How the network learns from unlabeled images by agreeing with its own moving average."""

    epochs: Annotated[tuple[Annotated[int, Interval(ge=1, le=100_000)], ...], MinLen(1)] = (40,)
    """Epochs (per stage)."""
    image_size: Annotated[tuple[ImageSize, ...], MinLen(1)] = (512,)
    """Height and width of the network's input in pixels, a multiple of 32 (per stage)."""
    crop_size: tuple[ImageSize, ...] = ()
    """Height and width of a random part of the training image that a training step sees, in pixels, at most the image
    size; empty = the whole image, as in validation and inference (per stage)."""
    positive_rate: tuple[PositiveFraction, ...] = ()
    """Fraction of positive images in an epoch; empty = each image once per epoch (per stage)."""
    final_positive_rate: tuple[PositiveFraction, ...] = ()
    """Fraction of positive images in a stage's last epoch, reached linearly; empty = as in its first (per stage)."""
    learning_rate: Annotated[tuple[Annotated[float, Interval(gt=0, lt=10)], ...], MinLen(1)] = (3e-4,)
    """Peak learning rate (per stage)."""

    batch_size: Annotated[int, Interval(ge=1, le=65_536)] = 16
    """Images in an optimizer step, over all ranks of a fold's group."""
    micro_batch_size: Annotated[int, Interval(ge=1, le=65_536)] = 8
    """Images over which batch normalization averages. A step's micro-batches are divided among the ranks, so that the
    same recipe gives the same weights (within rounding) on up to batch / micro-batch ranks."""
    freeze_encoder_norm: bool = False
    """Leave the encoder's batch normalization as its first weights have it: statistics, weights and biases."""
    optimizer: Literal["adamw", "adam", "radam"] = "adamw"
    """Optimizer; ``adam`` and ``radam`` add the weight decay to the gradient, ``adamw`` decouples it."""
    weight_decay: Fraction = 1e-4
    """Weight decay; biases and normalization weights have none."""
    warmup_epochs: Annotated[float, Interval(ge=0, le=100_000)] = 1.0
    """Epochs of linear warm-up at the start of each stage."""
    schedule: Annotated[tuple[ScheduleKind, ...], MinLen(1)] = ("cosine",)
    """How the learning rate falls after the warm-up: along a cosine, or whenever the validation score is on a plateau
    (per stage)."""
    final_lr_factor: Fraction = 0.01
    """Learning rate at the end of a stage's cosine as a factor of the peak; 1 = constant."""
    cosine_epochs: Annotated[int, Interval(ge=0, le=100_000)] = 0
    """Epochs in which the cosine falls, epoch by epoch; it then rises and falls again, as long each time; 0 = it falls
    once, step by step over the whole stage."""
    plateau: Plateau = field(default_factory=Plateau)
    """When the schedule ``plateau`` lowers the learning rate."""
    clip_norm: Annotated[float, Interval(ge=0, le=1e6)] = 1.0
    """Largest global norm of the gradient; 0 = no clipping."""
    ema_decay: FractionBelowOne = 0.999
    """Decay of the exponential moving average of the weights, which validation and inference use; 0 = none."""
    swa_epochs: Annotated[int, Interval(ge=0, le=100_000)] = 0
    """Last epochs of each stage of which the weights at the end are averaged evenly (stochastic weight averaging).
    Validation and inference then use this mean instead of the moving average; 0 = none. With a learning rate that
    falls to nothing the weights hardly differ: see --final-lr-factor."""

    precision: Precision = "auto"
    """Precision of the network's arithmetic; ``auto`` = on a GPU bf16 where it has it, else fp16 where it has it, else
    fp32, and fp32 on a CPU, where bf16 is faster with AMX alone. fp32 is not rounded to TF32."""
    channels_last: bool = True
    """Convolve in channels-last memory format (faster on GPUs)."""
    compile: bool = False
    """Compile the network with torch.compile."""
    loader: LoaderKind = "auto"
    """Loader that decodes and augments; ``auto`` = DALI on a GPU, and OpenCV on a CPU, without DALI, or with
    distortion, which DALI does not have."""

    validate_every: Annotated[int, Interval(ge=1, le=100_000)] = 1
    """Epochs between two validations; the last epoch of a stage is always validated."""
    patience: Annotated[int, Interval(ge=0, le=100_000)] = 0
    """Validations without a better score after which a stage ends early; 0 = never."""
    keep: Literal["last", "best"] = "last"
    """Weights that a stage ends with: its last, or those with the best validation score. ``best`` chooses on the same
    images that score the fold, so that the out-of-fold score is slightly optimistic; the report says so."""
    best_checkpoints: Annotated[int, Interval(ge=1, le=16)] = 1
    """Networks of a fold whose predictions are averaged: those with the best validation scores of its last stage, which
    --keep best chooses; 1 = a single one."""
    tta: tuple[View, ...] = ("hflip",)
    """Test-time augmentation: views that are averaged with the image itself at inference."""
    min_component: ReferenceArea = 0.0
    """Connected components of a mask smaller than this are removed, in pixels of a 1024x1024 image; 0 = none. The
    validations during training are of masks with them."""

    def __post_init__(self) -> None:
        """Check the name, and the fields that depend on each other.

        Raises:
            UserError: Naming the flag, the value found and the values accepted.
        """
        if not NAME.fullmatch(self.name):
            raise invalid_value("recipe", self.name[:MAX_SHOWN_LENGTH], NAME_IN_WORDS)
        counts = {name: len(getattr(self, name)) for name in PER_STAGE if len(getattr(self, name)) > 1}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{flag(name)} {count}" for name, count in counts.items())
            name = next(iter(counts))
            raise invalid_value(name, getattr(self, name), f"one value, or one for each stage (values given: {listed})")
        if self.final_positive_rate and not self.positive_rate:
            raise invalid_value("final_positive_rate", self.final_positive_rate, "--positive-rate to be set too")
        if self.micro_batch_size > self.batch_size:
            raise invalid_value("micro_batch_size", self.micro_batch_size, f"1 to --batch-size {self.batch_size}")
        if self.batch_size % self.micro_batch_size:
            multiple = f"a multiple of --micro-batch-size {self.micro_batch_size}"
            raise invalid_value("batch_size", self.batch_size, multiple)
        if self.loss.presence and not self.model.presence_head:
            raise invalid_value("loss.presence", self.loss.presence, "0, or --model.presence-head")
        if self.consistency.images:
            self._check_consistency()
        self._check_stages()
        if len(set(self.tta)) < len(self.tta):
            raise invalid_value("tta", self.tta, "each view once")

    def _check_consistency(self) -> None:
        """Check what learning from unlabeled images needs."""
        config, prefix = self.consistency, consistency_config.PREFIX
        if config.images % self.micro_batch_size:
            multiple = f"a multiple of --micro-batch-size {self.micro_batch_size}"
            raise invalid_value("images", config.images, multiple, prefix)
        if not self.ema_decay:
            expected = "0, or --ema-decay above 0, such as 0.999: the moving average is the teacher"
            raise invalid_value("images", config.images, expected, prefix)
        if config.presence_weight and not self.model.presence_head:
            raise invalid_value("presence_weight", config.presence_weight, "0, or --model.presence-head", prefix)

    def _check_stages(self) -> None:
        """Check the fields that depend on the length of a stage or the size of its images."""
        for stage in self.stages:
            if stage.crop_size is not None and stage.crop_size > stage.image_size:
                raise invalid_value("crop_size", self.crop_size, f"at most --image-size {stage.image_size}")
        if self.swa_epochs > min(self.epochs):
            raise invalid_value("swa_epochs", self.swa_epochs, f"at most the {min(self.epochs)} of --epochs")
        if self.swa_epochs and self.patience:
            expected = "0, or --patience 0: of a stage that ends early the last epochs are not known"
            raise invalid_value("swa_epochs", self.swa_epochs, expected)
        if self.best_checkpoints > 1:
            self._check_best_checkpoints()

    def _check_best_checkpoints(self) -> None:
        """Refuse more networks than the last stage has validations at least."""
        if self.keep != "best":
            raise invalid_value("best_checkpoints", self.best_checkpoints, "1, or --keep best")
        validations = -(-self.stages[-1].epochs // self.validate_every)
        # The first one is the best so far, and an early end waits for so many that are not.
        least = min(validations, self.patience + 1) if self.patience else validations
        if self.best_checkpoints > least:
            expected = f"at most {least}, the validations that the last stage has at least, or more --epochs"
            raise invalid_value("best_checkpoints", self.best_checkpoints, expected)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, with single values repeated for each."""
        count = max(len(getattr(self, name)) for name in PER_STAGE)

        def at(values: tuple[Any, ...], index: int) -> Any:
            return values[index % len(values)] if values else None

        stages = []
        for i in range(count):
            first = at(self.positive_rate, i)
            last = at(self.final_positive_rate, i) or first
            stages.append(
                Stage(
                    index=i,
                    epochs=at(self.epochs, i),
                    image_size=at(self.image_size, i),
                    positive_rate=None if first is None else (first, last),
                    learning_rate=at(self.learning_rate, i),
                    schedule=at(self.schedule, i),
                    crop_size=at(self.crop_size, i),
                )
            )
        return tuple(stages)

    @property
    def chooses_by_own_images(self) -> bool:
        """Whether the images that score a fold choose its weights, its learning rates or the length of its stages."""
        return self.keep == "best" or self.patience > 0 or "plateau" in self.schedule

    @property
    def inference(self) -> InferenceConfig:
        """What the trained networks predict with."""
        return InferenceConfig(
            model=self.model,
            members=self.best_checkpoints,
            size=self.stages[-1].image_size,
            tta=self.tta,
            loader=self.loader,
            precision=self.precision,
            channels_last=self.channels_last,
        )

    @property
    def micro_batches(self) -> int:
        """Micro-batches in an optimizer step."""
        return self.batch_size // self.micro_batch_size

    @property
    def unlabeled_micro_batches(self) -> int:
        """Micro-batches of unlabeled images in an optimizer step."""
        return self.consistency.images // self.micro_batch_size


PER_STAGE = ("epochs", "image_size", "crop_size", "positive_rate", "final_positive_rate", "learning_rate", "schedule")
