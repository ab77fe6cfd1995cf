"""Which encoders there are: those of segmentation-models-pytorch, those of timm, and a registry of our own."""

import difflib

from torch import nn

from pneumo.modeling.light_import import smp
from pneumo.runtime.config import MAX_SHOWN_LENGTH, invalid_value

ENCODERS: dict[str, type[nn.Module]] = {}
"""Encoders of our own, each a class in a module of its own, by the name that ``--model.encoder`` takes.

A class extends ``torch.nn.Module`` and ``smp.encoders._base.EncoderMixin``, takes the keywords ``depth`` and
``output_stride``, and its ``forward`` returns six feature maps: the image (N, 3, H, W), and five more, each of half
the size of the one before. ``out_channels`` lists their channels. A weights file for it is its own state dict.
"""


def register() -> None:
    """Enter ``ENCODERS`` in the registry of segmentation-models-pytorch, whose networks find their encoder by name.

    Raises:
        ValueError: When one of them has a name that the library uses.
    """
    registry = smp.encoders.encoders
    for name, encoder in ENCODERS.items():
        if name.startswith(("tu-", "timm-")) or (name in registry and registry[name]["encoder"] is not encoder):
            raise ValueError(f"{name} is the name of an encoder of segmentation-models-pytorch")
        registry[name] = {"encoder": encoder, "pretrained_settings": {}, "params": {}}


def validate(name: str) -> None:
    """Check that there is an encoder of a name.

    Raises:
        UserError: With the most similar names, when there is none.
    """
    names = [*ENCODERS, *smp.encoders.get_encoder_names()]
    if name.startswith("tu-"):
        import timm

        # The part after a dot names timm's pretrained variant.
        names = [f"tu-{model}" for model in (timm.list_pretrained() if "." in name else timm.list_models())]
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:5]
        shown = name if len(name) <= MAX_SHOWN_LENGTH else f"{name[:MAX_SHOWN_LENGTH]}..."
        raise invalid_value("encoder", shown, f"one of {len(names)} names such as {', '.join(close)}", "model.")
