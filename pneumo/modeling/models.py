"""From a configuration to a network: U-Net or U-Net++ over any encoder, for one-channel X-rays."""

from pathlib import Path
from typing import Any

from torch import nn

from pneumo.modeling import encoders, hub, packaged_weights
from pneumo.modeling.config import ModelConfig
from pneumo.modeling.light_import import smp
from pneumo.modeling.presence_head import PresenceHead
from pneumo.modeling.segmenter import Segmenter
from pneumo.modeling.unused_parameters import freeze_unused_parameters
from pneumo.modeling.weights import load_encoder
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's R, G, B in [0, 1], with which torchvision's weights were trained."""
ARCHITECTURES = {"unet": smp.Unet, "unetplusplus": smp.UnetPlusPlus}


def build(config: ModelConfig, *, freeze_unused: bool = True) -> Segmenter:
    """Build the network on the CPU, in training mode, with the encoder's weights loaded.

    Initial weights are drawn from torch's global generator, so seed it first. The names and shapes of the
    parameters do not depend on ``encoder_weights``: to load a trained model, build with ``"none"``.

    Args:
        config: What to build.
        freeze_unused: Freeze parameters that no output depends on (see ``freeze_unused_parameters``), which takes a
            forward and a backward pass, and is of no use to a network that is not trained.

    Raises:
        UserError: When there is no such encoder, it does not fit the decoder, or its weights cannot be downloaded or
            loaded.
    """
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    if config.encoder_weights == "imagenet":
        with hub.downloading(config.encoder):
            net = _network(config, "imagenet")
            mean, std = hub.normalization(config.encoder)
    else:
        net = _network(config, None)
        if config.encoder_weights != "none":
            of_package = config.encoder_weights == "packaged"
            path = packaged_weights.find(config.encoder) if of_package else Path(config.encoder_weights)
            load_encoder(net.encoder, path)  # type: ignore[arg-type]
    encoder: Any = net.encoder
    head = PresenceHead(encoder.out_channels[-1]) if _has_own_head(config) else None
    model = Segmenter(net, mean, std, head)
    frozen = freeze_unused_parameters(model) if freeze_unused else []
    if frozen:
        log.info("frozen, because no output depends on them: %s", ", ".join(frozen))
    return model


def _has_own_head(config: ModelConfig) -> bool:
    """Whether the presence head is ours, and not the library's, which sees the encoder alone."""
    return config.presence_head and config.presence_input == "both"


def _network(config: ModelConfig, weights: str | None) -> nn.Module:
    """Make the segmentation-models network, which raises ValueError for a pair that does not go together."""
    encoders.register()
    encoders.validate(config.encoder)
    of_library = config.presence_head and not _has_own_head(config)
    try:
        net: nn.Module = ARCHITECTURES[config.architecture](
            config.encoder,
            encoder_weights=weights,
            in_channels=len(IMAGENET_MEAN),
            classes=1,
            decoder_channels=config.decoder_channels,
            decoder_attention_type=None if config.attention == "none" else config.attention,
            # No dropout: the forward pass stays a function of weights and images alone, on any number of ranks.
            aux_params={"classes": 1, "dropout": 0.0} if of_library else None,
        )
    except ValueError as error:
        raise UserError(
            f"architecture {config.architecture} with encoder {config.encoder}: {error}",
            "an encoder whose feature maps halve in size five times",
            "choose another encoder or another architecture",
        ) from error
    return net
