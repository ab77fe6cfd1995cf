"""U-Net and U-Net++ over any encoder of segmentation-models-pytorch, for one-channel X-rays.

The image has one channel in [0, 1]; the network normalises it inside. Every encoder keeps the three input
channels of its pretraining: the normalisation broadcasts the gray value against the mean and the standard
deviation of each channel, so a pretrained encoder computes exactly what it computes on the RGB copy of the
image, at the zero-padded border too. Summing the first kernels into one channel would be exact only inside
(the padding stands for another gray in each channel) and saves no measurable time: 0.22 s against 0.22 s for
U-Net MobileNetV2 at 256 px, 0.41 s against 0.42 s for ResNet34, two images on one core.
"""

import copy
import difflib
from pathlib import Path
from typing import Literal, NamedTuple

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from pneumo.modeling.weights import load_encoder
from pneumo.runtime.config import config_dataclass, refuse
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, first_line

STRIDE = 32
"""Image sizes are multiples of this: the encoders halve the resolution five times."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's R, G, B in [0, 1], with which torchvision's weights were trained."""
ARCHITECTURES = {"unet": smp.Unet, "unetplusplus": smp.UnetPlusPlus}


@config_dataclass(flag_prefix="model.")
class ModelConfig:
    """What network to build."""

    architecture: Literal["unet", "unetplusplus"] = "unet"
    """The decoder."""
    encoder: str = "resnet34"
    """Name of an encoder of segmentation-models-pytorch, for example resnet34, se_resnext50_32x4d, mobilenet_v2."""
    encoder_weights: str = "none"
    """Where the encoder's weights come from: none (random), imagenet (downloaded), or the path of a local file."""
    attention: Literal["none", "scse"] = "none"
    """Attention in the decoder: none, or concurrent spatial and channel squeeze and excitation."""
    presence_head: bool = True
    """Whether a second output says if the image has a pneumothorax at all."""

    def __post_init__(self) -> None:
        _check_encoder(self.encoder)


class SegmenterOutput(NamedTuple):
    """What the network says about N images."""

    logits: Tensor
    """(N, 1, H, W): logit of "this pixel is pneumothorax"."""
    presence_logit: Tensor | None
    """(N,): logit of "this image has a pneumothorax", or None without the head."""


class Segmenter(nn.Module):
    """Normalisation, encoder, decoder and heads.

    Args:
        net: A segmentation-models network with three input channels and one class.
        mean: Mean of each input channel in the encoder's pretraining, in [0, 1].
        std: Standard deviation of each input channel in the encoder's pretraining.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.net = net
        # Buffers, so that a checkpoint carries the normalisation its weights were trained with.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> SegmenterOutput:
        """Segment images.

        Args:
            image: (N, 1, H, W) float in [0, 1]; H and W are multiples of 32.

        Raises:
            UserError: When H or W is no multiple of 32.
        """
        _check_image(image)
        output = self.net((image - self.mean) / self.std)
        if isinstance(output, tuple):
            return SegmenterOutput(output[0], output[1].squeeze(1))
        return SegmenterOutput(output, None)


def build(config: ModelConfig) -> Segmenter:
    """Build the network on the CPU, in training mode, with the encoder's weights loaded.

    Initial weights are drawn from torch's global generator, so seed it first. The names and shapes of the
    parameters do not depend on ``encoder_weights``: to load a trained model, build with ``"none"``.
    Parameters that no output depends on are frozen (see ``freeze_unused``).

    Raises:
        UserError: When the encoder does not fit the decoder, or its weights cannot be had.
    """
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    if config.encoder_weights == "imagenet":
        net, mean, std = _from_hub(config)
    else:
        net = _network(config, None)
        if config.encoder_weights != "none":
            load_encoder(net.encoder, Path(config.encoder_weights))  # type: ignore[arg-type]
    model = Segmenter(net, mean, std)
    frozen = freeze_unused(model)
    if frozen:
        log.info("frozen, as no output depends on them: %s", ", ".join(frozen))
    return model


def freeze_unused(model: nn.Module) -> list[str]:
    """Stop the gradient of parameters that no output depends on, and return their names.

    scSE in a decoder block without a skip connection, and last layers of some encoders, are built but never
    called. DistributedDataParallel would wait for their gradients for ever; with ``requires_grad`` off it
    does not, and needs no search for unused parameters at each step. They are found by one backward pass of
    a copy in evaluation mode, which draws no random numbers and changes no statistics.
    """
    probe = copy.deepcopy(model).eval()
    with torch.enable_grad():
        output = probe(torch.linspace(0, 1, 64 * 64).view(1, 1, 64, 64))
        torch.stack([part.sum() for part in output if part is not None]).sum().backward()  # type: ignore[no-untyped-call]
    unused = [name for name, parameter in probe.named_parameters() if parameter.grad is None]
    for name in unused:
        model.get_parameter(name).requires_grad_(False)
    return unused


def _network(config: ModelConfig, weights: str | None) -> nn.Module:
    """Make the segmentation-models network; its own ValueError tells of a pair that does not go together."""
    try:
        net: nn.Module = ARCHITECTURES[config.architecture](
            config.encoder,
            encoder_weights=weights,
            in_channels=len(IMAGENET_MEAN),
            classes=1,
            decoder_attention_type=None if config.attention == "none" else config.attention,
            # No dropout: the forward pass stays a function of weights and images alone, on any number of ranks.
            aux_params={"classes": 1, "dropout": 0.0} if config.presence_head else None,
        )
    except ValueError as error:
        raise UserError(
            f"architecture {config.architecture} with encoder {config.encoder}: {error}",
            "an encoder whose feature maps halve in size five times",
            "choose another encoder or another architecture",
        ) from error
    return net


def _from_hub(config: ModelConfig) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
    """Download the encoder's ImageNet weights, and the normalisation they were trained with."""
    try:
        net = _network(config, "imagenet")
        statistics = smp.encoders.get_preprocessing_params(config.encoder, "imagenet")
    except UserError:
        raise
    except Exception as error:  # hub clients raise whatever their HTTP library of the day does
        raise UserError(
            f"encoder_weights imagenet: the weights of {config.encoder} could not be had ({first_line(error)})",
            "a connection to the Hugging Face hub and an encoder with ImageNet weights there",
            "give encoder_weights the path of a local .pth or .safetensors file, or none",
        ) from error
    scale = float(statistics["input_range"][1])
    mean = tuple(float(value) / scale for value in statistics["mean"])
    std = tuple(float(value) / scale for value in statistics["std"])
    return net, mean, std


def _check_image(image: Tensor) -> None:
    assert image.ndim == 4, f"(N, 1, H, W) wanted, {tuple(image.shape)} given"
    channels, rows, columns = image.shape[1:]
    assert channels == 1, f"one gray channel wanted, {channels} given"
    if rows % STRIDE or columns % STRIDE:
        raise UserError(
            f"images of {rows}x{columns} pixels",
            f"a size that is a multiple of {STRIDE}",
            f"choose {max(1, round(rows / STRIDE)) * STRIDE}",
        )


def _check_encoder(name: str) -> None:
    names = smp.encoders.get_encoder_names()
    if name.startswith("tu-"):
        import timm

        # The part behind a dot names timm's pretrained variant.
        names = [f"tu-{model}" for model in (timm.list_pretrained() if "." in name else timm.list_models())]
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:5]
        raise refuse("encoder", name, f"one of {len(names)} names such as {', '.join(close)}", "model.")
