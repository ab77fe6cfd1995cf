"""Find tensors that are not finite: such weights are never saved, and never used."""

from collections.abc import Mapping, Sequence

import torch


def find_nonfinite(values: object, name: str = "") -> str:
    """Return the name of the first tensor with a NaN or an infinity, an empty string when there is none.

    Args:
        values: A tensor, or nested mappings and sequences of tensors and other values, which are ignored.
        name: Name of ``values``; the keys and indices below it are appended with dots.
    """
    if isinstance(values, torch.Tensor):
        # A sum is not finite when a value is not, or when it overflows. It is found in a fraction of the time.
        finite = bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())
        return "" if finite else name
    if isinstance(values, Mapping):
        entries = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, Sequence) and not isinstance(values, str):
        entries = [(str(index), value) for index, value in enumerate(values)]
    else:
        return ""
    found = (find_nonfinite(value, f"{name}.{key}" if name else key) for key, value in entries)
    return next(filter(None, found), "")
