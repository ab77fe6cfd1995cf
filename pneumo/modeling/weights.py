"""Loading an encoder's weights from a local file.

Clusters without internet access need encoder weights from a local file.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn

from pneumo.modeling.finite import find_nonfinite
from pneumo.modeling.weight_files import read_state
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted

HEADS = ("fc.", "_fc.", "classifier.", "last_linear.", "head.", "output.", "logits.")
"""Prefixes of the ImageNet classifiers that encoders leave out."""
PREFIXES = ("module.", "model.", "net.", "encoder.", "backbone.")
"""What DataParallel, training frameworks and segmentation models, pneumo's too, put before the names of an encoder's
tensors, in any order and number."""
MAX_KEYS_SHOWN = 5
"""How many keys of each kind an error names."""


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Load a local file into a segmentation-models encoder, and log what it held.

    torchvision's and pretrainedmodels' files fit the encoders of the same name, timm's fit ``tu-`` encoders, and an
    encoder of our own takes its own state dict. In the checkpoint of a whole model the encoder's tensors are those
    under the prefixes that wrappers and models give them (``PREFIXES``). The ImageNet classifier in the file is
    ignored. A first convolution of one input channel is repeated for three, and one of three is summed for one.

    Raises:
        UserError: When tensors are missing, unexpected, of another shape or not finite, naming them.
    """
    expected = encoder.state_dict()
    content = read_state(path)
    prefix, state = _find_encoder(content, expected, is_timm=hasattr(encoder, "model"))
    if broken := find_nonfinite(state):
        raise UserError(f"{path}: {broken} is not finite", "finite weights", "give another file, or none")
    adapted = _adapt_channels(state, expected)
    # The encoder's own method may rename or drop keys in the dict it is given, hence a copy.
    try:
        encoder.load_state_dict(dict(state))
    except RuntimeError as error:
        raise UserError(
            f"{path} does not fit the encoder: {differences(encoder.state_dict(), state)}",
            "the weights of the same architecture",
            "check that encoder and encoder_weights name the same network",
        ) from error
    left = len(content) - len(state)
    log.info(
        "%s: %s of the encoder%s%s%s",
        path,
        counted(len(state), "tensor"),
        f" under {prefix}" if prefix else "",
        f"; not used: {left} more" if left else "",
        f"; {adapted} adapted to the number of input channels" if adapted else "",
    )


def _find_encoder(
    content: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, is_timm: bool
) -> tuple[str, dict[str, Tensor]]:
    """Return the prefix under which most of the encoder's tensors are, the shortest of several, and these tensors."""
    found: dict[str, dict[str, Tensor]] = {}
    for prefix in sorted({prefix for key in content for prefix in _prefixes(key)}, key=len):
        under = {key.removeprefix(prefix): value for key, value in content.items() if key.startswith(prefix)}
        state = {key: value for key, value in under.items() if key in expected or not key.startswith(HEADS)}
        found[prefix] = _timm_names(state, expected) if is_timm else state
    if not found:
        return "", {}
    best = max(found, key=lambda prefix: len(found[prefix].keys() & expected.keys()))
    return best, found[best]


def _prefixes(key: str) -> Iterator[str]:
    """Yield the beginnings of a key that consist of wrappers' prefixes, the empty one first."""
    at = 0
    yield ""
    while wrapper := next((name for name in PREFIXES if key.startswith(name, at)), ""):
        at += len(wrapper)
        yield key[:at]


def _adapt_channels(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Adapt convolutions of one input channel to three, or of three to one; return their names.

    Their output is that of the original for a gray image, as in segmentation-models' ``in_channels``.
    """
    adapted = []
    for key, value in state.items():
        shape = expected[key].shape if key in expected else value.shape
        if (
            value.ndim != 4
            or len(shape) != 4
            or value.shape == shape
            or value[:, :1].shape != (shape[0], 1, *shape[2:])
        ):
            continue
        if (value.shape[1], shape[1]) == (1, 3):
            state[key] = value.repeat(1, 3, 1, 1) / 3
        elif (value.shape[1], shape[1]) == (3, 1):
            state[key] = value.sum(1, keepdim=True)
        else:
            continue
        adapted.append(key)
    return ", ".join(adapted)


def _timm_names(state: dict[str, Tensor], expected: Iterable[str]) -> dict[str, Tensor]:
    """Rename timm's keys to those of its feature extractor, which flattens outer containers into names.

    What the extractor does not use (layers after the last feature map) is dropped.
    """
    names = set(expected)
    renamed = {}
    for key, value in state.items():
        for candidate in (f"model.{key}", f"model.{key.replace('.', '_', 1)}", key):
            if candidate in names:
                renamed[candidate] = value
                break
    return renamed


def differences(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Describe how two state dicts differ, with the first few keys of each kind."""
    # Files from before PyTorch 0.4.1 have no batch counters, and loading fills them in.
    missing = [key for key in expected if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in expected]
    reshaped = [
        f"{key} {tuple(given[key].shape)} for {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    return "; ".join(_listing(kind, keys) for kind, keys in kinds.items() if keys)


def _listing(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - MAX_KEYS_SHOWN} more" if len(keys) > MAX_KEYS_SHOWN else ""
    return f"{len(keys)} {kind}: {', '.join(keys[:MAX_KEYS_SHOWN])}{more}"
