"""ImageNet weights from the Hugging Face hub: the errors of a download, and the normalization that belongs to it."""

from collections.abc import Iterator
from contextlib import contextmanager

import segmentation_models_pytorch as smp

from pneumo.runtime.errors import UserError, first_line


@contextmanager
def downloading(encoder: str) -> Iterator[None]:
    """Turn what fails in the block into an error about the download of an encoder's weights.

    Raises:
        UserError: When the block raises anything.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the hub's client raises the errors of whichever HTTP library it uses
        raise UserError(
            f"encoder_weights imagenet: the weights of {encoder} cannot be downloaded ({first_line(error)})",
            "a connection to the Hugging Face hub and an encoder with ImageNet weights there",
            "give encoder_weights the path of a local .pth or .safetensors file, or none",
        ) from error


def normalization(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Download the mean and the standard deviation of each input channel, in [0, 1], that go with the weights."""
    settings = smp.encoders.get_preprocessing_params(encoder, "imagenet")
    scale = float(settings["input_range"][1])
    mean, std = (tuple(float(value) / scale for value in settings[name]) for name in ("mean", "std"))
    return mean, std
