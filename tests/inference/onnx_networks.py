"""Small networks to export as ONNX."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import torch

from pneumo.inference.config import View
from pneumo.inference.onnx_export import MeanOfNetworks
from pneumo.modeling import models
from pneumo.modeling.config import ModelConfig

SIZE = 32
TINY = "tu-test_efficientnet"


@dataclass(frozen=True)
class Exported:
    """A graph, and the networks that it was exported from."""

    mean: MeanOfNetworks
    path: Path

    @property
    def session(self) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])


def make_mean(
    encoder: str = TINY, folds: int = 2, tta: Sequence[View] = ("hflip",), **config: object
) -> MeanOfNetworks:
    torch.manual_seed(0)
    model = ModelConfig(encoder=encoder, **config)
    networks = [models.build(model) for _ in range(folds)]
    return MeanOfNetworks(networks, tta, presence_head=model.presence_head)
