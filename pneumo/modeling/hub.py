"""ImageNet weights from the Hugging Face hub: the errors of a download, and the normalization that belongs to it."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from pneumo.modeling.light_import import smp
from pneumo.runtime.errors import StartAgain, UserError, first_line


@contextmanager
def downloading(encoder: str) -> Iterator[None]:
    """Turn what fails in the block into an error about the download of an encoder's weights.

    Raises:
        StartAgain: When the hub cannot be reached now: a restart may find it again.
        UserError: When the block raises anything else.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the hub's client raises the errors of whichever HTTP library it uses
        found = f"--model.encoder-weights imagenet: the weights of {encoder} cannot be downloaded ({first_line(error)})"
        expected = "a connection to the Hugging Face hub"
        action = "give it the path of a local .pth or .safetensors file, or none"
        if _is_away(error):
            raise StartAgain(
                f"{found}; expected a connection to the Hugging Face hub; without one, {action}"
            ) from error
        raise UserError(
            found,
            f"{expected} and an encoder with ImageNet weights there",
            action,
        ) from error


def _is_away(error: BaseException) -> bool:
    """Return whether the hub did not answer, or said that it is busy; asked not to connect, it is not away."""
    if constants.HF_HUB_OFFLINE:
        return False
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, (ConnectionError, TimeoutError, LocalEntryNotFoundError))


def normalization(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Download the mean and the standard deviation of each input channel, in [0, 1], that go with the weights."""
    settings = smp.encoders.get_preprocessing_params(encoder, "imagenet")
    scale = float(settings["input_range"][1])
    mean, std = (tuple(float(value) / scale for value in settings[name]) for name in ("mean", "std"))
    return mean, std
