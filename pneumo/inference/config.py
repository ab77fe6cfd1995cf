"""What a network predicts with: the fields of a recipe, and the flags that override them, without torch."""

from dataclasses import dataclass
from typing import Literal

from pneumo.loading.kind import LoaderKind
from pneumo.modeling.config import ModelConfig

Precision = Literal["auto", "fp32", "bf16", "fp16"]
View = Literal["hflip"]
"""A view of an image for test-time augmentation; ``pneumo.inference.predictor.VIEWS`` has an entry for each."""
LoaderOverride = Literal["recipe", LoaderKind]
PrecisionOverride = Literal["recipe", Precision]
RuleSource = Literal["auto", "out-of-fold", "mean", "unmoved"]
"""Where the decision rule of an ensemble comes from, see ``pneumo.training.blended_rule``."""


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """The fields of a recipe that decide what its networks predict."""

    model: ModelConfig
    size: int
    """Height and width of the network's input in pixels."""
    tta: tuple[View, ...]
    """Views that are averaged with the image itself."""
    loader: LoaderKind
    precision: Precision
    channels_last: bool
    members: int = 1
    """Networks of a fold whose predictions are averaged."""
