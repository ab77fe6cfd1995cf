"""The digest of an encoder's weights: the same for equal weights, whichever file, hub or cache they came from."""

import hashlib

import torch
from torch import nn


def encoder_sha256(encoder: nn.Module) -> str:
    """Return the SHA-256 of the names, types, shapes and bytes of an encoder's parameters and buffers, hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
