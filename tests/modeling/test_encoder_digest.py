"""The digest of an encoder's weights."""

import hashlib
from collections.abc import Callable

import pytest
import torch
from torch import nn

from pneumo.modeling.encoder_digest import encoder_sha256


def layer() -> nn.Module:
    return nn.Linear(2, 1).requires_grad_(False)


def filled(value: float = 1.0) -> nn.Module:
    linear = layer()
    for parameter in linear.parameters():
        parameter.fill_(value)
    return linear


def test_the_digest_is_that_of_names_types_shapes_and_bytes() -> None:
    one = b"\x00\x00\x80\x3f"  # 1.0 in IEEE 754
    content = b"bias torch.float32 (1,)\n" + one + b"weight torch.float32 (1, 2)\n" + one + one
    assert encoder_sha256(filled()) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        lambda: filled(2.0),
        lambda: filled().double(),
        lambda: nn.Sequential(filled()),
    ],
    ids=["value", "type", "name"],
)
def test_other_weights_have_another_digest(change: Callable[[], nn.Module]) -> None:
    assert encoder_sha256(change()) != encoder_sha256(filled())


def test_the_memory_format_and_counters_do_not_break_it() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert encoder_sha256(network.to(memory_format=torch.channels_last)) == encoder_sha256(
        network.to(memory_format=torch.contiguous_format)
    )
