"""Which network to build: the fields of a recipe that are flags, without the libraries that build it."""

from typing import Literal

from pneumo.runtime.config import config_dataclass


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
    """Where the encoder's weights come from: none (random), imagenet (downloaded), or the path of a local file."""
    attention: Literal["none", "scse"] = "none"
    """Attention in the decoder: none, or concurrent spatial and channel squeeze and excitation."""
    presence_head: bool = True
    """Whether a second output predicts if the image has a pneumothorax at all."""
