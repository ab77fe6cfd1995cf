"""Fixtures that several parts share: real images when they are at hand, a small synthetic dataset, one thread."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and say why."""
    without_siim = pytest.mark.skip(reason="PNEUMO_SIIM_DIR is not set to the real SIIM files")
    without_gpu = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if "siim" in item.keywords and "PNEUMO_SIIM_DIR" not in os.environ:
            item.add_marker(without_siim)
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(without_gpu)


@pytest.fixture(scope="session")
def siim() -> Path:
    """Folder of real SIIM images; only tests marked ``siim`` may ask for it."""
    return Path(os.environ["PNEUMO_SIIM_DIR"])
