from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from ensembles import make_networks, write_runs
from onnx_networks import SIZE as ONNX_SIZE
from onnx_networks import Exported, make_mean
from plain_predictions import SIZE, Bright
from random_maps import Maps, draw_maps

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.inference import onnx_export
from pneumo.inference.network_mean import EnsembledRun
from pneumo.inference.predictor import Predictor
from pneumo.loading.build import build_loader
from pneumo.loading.contract import Loader
from pneumo.modeling.segmenter import Segmenter


@pytest.fixture(scope="session")
def maps() -> Maps:
    return draw_maps()


@pytest.fixture(scope="session")
def maps_without_presence() -> Maps:
    return draw_maps(seed=1, presence_head=False)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Two small networks as ONNX."""
    found = Exported(make_mean(), tmp_path_factory.mktemp("onnx") / "model.onnx")
    onnx_export.export(found.mean, ONNX_SIZE, found.path, {"use": "for tests"})
    return found


@pytest.fixture(scope="session")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


@pytest.fixture(scope="session")
def loader(reader: ShardReader) -> Loader:
    return build_loader("opencv", reader, torch.device("cpu"), workers=1)


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return Predictor(Bright(), size=SIZE, tta=(), autocast=nullcontext)


@pytest.fixture(scope="session")
def networks() -> list[list[Segmenter]]:
    return make_networks()


@pytest.fixture(scope="session")
def runs(networks: list[list[Segmenter]], tmp_path_factory: pytest.TempPathFactory) -> list[EnsembledRun]:
    return write_runs(networks, tmp_path_factory.mktemp("weights"))
