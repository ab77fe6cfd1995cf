"""The recipe: everything that decides what a run computes, as one typed, frozen record.

Two runs with the same recipe and the same dataset give the same result; whatever does not change the result (number
of ranks, workers, how often to save) is not in here.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal, TypeVar, get_type_hints

import tyro

from pneumo.loading.augmentation import Augmentation
from pneumo.modeling.losses import LossConfig
from pneumo.modeling.models import ModelConfig
from pneumo.runtime import checks
from pneumo.runtime.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of training at one image size, with its own warm-up and cosine."""

    index: int
    epochs: int
    image_size: int
    positive_rate: tuple[float, float] | None
    """Share of positives in the stage's first and last epoch, or None for every sample once an epoch."""
    learning_rate: float

    def rate_at(self, epoch: int) -> float | None:
        """Return the positive rate of the stage's epoch ``epoch`` (from 0), changing linearly over the stage."""
        if self.positive_rate is None:
            return None
        first, last = self.positive_rate
        return first + (last - first) * (epoch / max(self.epochs - 1, 1))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train. Fields marked "per stage" take one value for all stages or one for each."""

    name: tyro.conf.Suppress[str] = "best"
    """Name of the recipe that this one started from."""
    seed: int = 0
    """Seed of the sampler, the augmentation, the initial weights and dropout."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Architecture, encoder and where its first weights come from."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the loss's parts."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Probabilities and ranges of the random changes to a training image."""

    epochs: tuple[int, ...] = (40,)
    """Epochs (per stage)."""
    image_size: tuple[int, ...] = (512,)
    """Height and width of the network's input in pixels, a multiple of 32 (per stage)."""
    positive_rate: tuple[float, ...] = ()
    """Share of positive images in an epoch, 0 to 1; empty = every image once an epoch (per stage)."""
    final_positive_rate: tuple[float, ...] = ()
    """Share of positives in a stage's last epoch, reached linearly; empty = as at its start (per stage)."""
    learning_rate: tuple[float, ...] = (3e-4,)
    """Peak learning rate (per stage)."""

    batch_size: int = 16
    """Images in an optimiser step, over all ranks of a fold's group."""
    micro_batch_size: int = 8
    """Images in one forward pass, the unit of batch normalisation. Ranks share out a step's micro-batches, so that
    the same recipe gives the same weights (within rounding) on any number of ranks up to batch / micro-batch."""
    optimizer: Literal["adamw", "adam", "radam"] = "adamw"
    """Optimiser; ``adam`` and ``radam`` add the weight decay to the gradient, ``adamw`` decouples it."""
    weight_decay: float = 1e-4
    """Weight decay; biases and normalisation weights have none."""
    warmup_epochs: float = 1.0
    """Epochs of linear warm-up at the start of each stage."""
    final_lr_factor: float = 0.01
    """Learning rate at the end of a stage's cosine, as a factor of the peak; 1 keeps it constant."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient; 0 = no clipping."""
    ema_decay: float = 0.999
    """Decay of the exponential moving average of the weights, which validation and inference use; 0 = none."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the network's arithmetic; ``auto`` = bf16 where the device has it, else fp32."""
    channels_last: bool = True
    """Keep activations in channels-last order (faster convolutions on GPUs)."""
    compile: bool = False
    """Compile the network with torch.compile."""
    loader: Literal["auto", "dali", "opencv"] = "auto"
    """Which loader decodes and warps: DALI where there is a GPU for it, OpenCV elsewhere."""

    validate_every: int = 1
    """Epochs between two validations; the last epoch of a stage is always validated."""
    patience: int = 0
    """Validations without a better score before a stage ends early; 0 = never."""
    keep: Literal["last", "best"] = "last"
    """Which weights a stage hands on: its last, or those with the best validation score. ``best`` picks on the same
    images that score the fold, which flatters the out-of-fold score a little; the report says so."""
    tta: tuple[Literal["hflip"], ...] = ("hflip",)
    """Views beside the image itself that are averaged at inference."""

    def __post_init__(self) -> None:
        """Check every field's range.

        Raises:
            UserError: Naming the field, the value found and the values accepted.
        """
        checks.types(self)
        for name, accepted, good in self._checks():
            if not good:
                raise checks.refuse(name, attrgetter(name)(self), accepted)

    def _checks(self) -> list[tuple[str, str, bool]]:
        """List (field, accepted values, whether it holds)."""
        lengths = {len(getattr(self, name)) for name in PER_STAGE} - {0, 1}
        several = f"one value, or one for each stage (the stages' counts here: {sorted(lengths)})"
        share = "values above 0 and at most 1"
        return [
            ("seed", "0 to 2**32 - 1", 0 <= self.seed < 2**32),
            ("epochs", several, len(lengths) <= 1),
            ("epochs", "at least one value, each 1 to 100000", _all(self.epochs, lambda n: 1 <= n <= 100_000)),
            (
                "image_size",
                "at least one value, multiples of 32 from 32 to 4096",
                _all(self.image_size, lambda size: size % 32 == 0 and 32 <= size <= 4096),
            ),
            ("positive_rate", share, all(0 < r <= 1 for r in self.positive_rate)),
            ("final_positive_rate", share, all(0 < r <= 1 for r in self.final_positive_rate)),
            (
                "final_positive_rate",
                "--positive-rate to be set too",
                not self.final_positive_rate or bool(self.positive_rate),
            ),
            (
                "learning_rate",
                "at least one value, each above 0 and below 10",
                _all(self.learning_rate, lambda rate: 0 < rate < 10),
            ),
            ("batch_size", "1 to 65536", 1 <= self.batch_size <= 65_536),
            ("micro_batch_size", "1 to --batch-size", 1 <= self.micro_batch_size <= self.batch_size),
            (
                "batch_size",
                f"a multiple of --micro-batch-size {self.micro_batch_size}",
                self.batch_size % max(self.micro_batch_size, 1) == 0,
            ),
            ("weight_decay", "0 to 1", 0 <= self.weight_decay <= 1),
            ("warmup_epochs", "0 to 100000", 0 <= self.warmup_epochs <= 100_000),
            ("final_lr_factor", "0 to 1", 0 <= self.final_lr_factor <= 1),
            ("clip_norm", "0 to 1e6", 0 <= self.clip_norm <= 1e6),
            ("ema_decay", "0 to below 1", 0 <= self.ema_decay < 1),
            ("validate_every", "1 to 100000", 1 <= self.validate_every <= 100_000),
            ("patience", "0 to 100000", 0 <= self.patience <= 100_000),
            ("loss.empty", "0, or --model.empty-head", self.model.empty_head or not self.loss.empty),
            ("tta", "each view once", len(set(self.tta)) == len(self.tta)),
        ]

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
                )
            )
        return tuple(stages)

    @property
    def micro_batches(self) -> int:
        """Micro-batches in an optimiser step."""
        return self.batch_size // self.micro_batch_size


def _all(values: Sequence[T], good: Callable[[T], bool]) -> bool:
    """Tell whether there are values, and all are good."""
    return bool(values) and all(map(good, values))


PER_STAGE = ("epochs", "image_size", "positive_rate", "final_positive_rate", "learning_rate")


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as JSON values: nested objects, tuples as lists."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))  # type: ignore[no-any-return]


def from_json(values: object) -> Recipe:
    """Rebuild a recipe that ``to_json`` wrote.

    Raises:
        UserError: On unknown fields, values of another type or out of range.
    """
    recipe: Recipe = _build(Recipe, values, "recipe")
    return recipe


def _build(cls: Any, values: Any, where: str) -> Any:
    hints = get_type_hints(cls)
    if not isinstance(values, dict):
        raise UserError(f"{where} is {values!r}", "an object with the fields of a recipe", "restore the record")
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise UserError(
            f"{where} has unknown field(s) {', '.join(unknown)}",
            "the fields of this version of pneumo",
            "read it with the version that wrote it",
        )
    arguments = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            arguments[name] = _build(hints[name], value, f"{where}.{name}")
        else:
            arguments[name] = tuple(value) if isinstance(value, list) else value
    return cls(**arguments)


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """List the fields in which two recipes (as JSON values) differ, as ``field: old -> new``."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name}: {a!r} -> {b!r}")
    return found
