"""Counting GPUs by the driver's tool, of which a stand-in lists three."""

import os
from pathlib import Path

import pytest

from pneumo.distributed import gpus
from pneumo.distributed.gpus import count_gpus

LIST = """\
GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-1b2c)
  MIG 1g.10gb     Device  0: (UUID: MIG-77aa)
GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-3d4e)
GPU 2: NVIDIA A100-SXM4-80GB (UUID: GPU-5f6a)
"""


def install_tool(directory: Path, script: str) -> dict[str, str]:
    """Write a stand-in for nvidia-smi; return an environment that finds it."""
    tool = directory / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        (None, 3),
        ("0,1,2", 3),
        ("2, 0", 2),
        ("", 0),
        ("-1", 0),
        ("none", 0),
        ("0,9,1", 1),  # CUDA takes none from the first that does not exist
        ("0,,1", 1),
        ("GPU-3d4e,GPU-5f", 2),  # the beginning of a name is enough
        ("GPU-9999", 0),
        ("MIG-77aa", 1),
    ],
)
def test_hidden_gpus_are_not_counted(tmp_path: Path, visible: str | None, count: int) -> None:
    environ = install_tool(tmp_path, f'[ "$1" = --list-gpus ] && cat <<"END"\n{LIST}END')
    assert count_gpus(environ if visible is None else environ | {"CUDA_VISIBLE_DEVICES": visible}) == count


@pytest.mark.parametrize("script", ["echo 'No devices were found'; exit 6", "sleep 20", "kill -9 $$"])
def test_a_tool_that_fails_or_hangs_counts_none(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "TIMEOUT_S", 0.5)
    assert count_gpus(install_tool(tmp_path, script.replace("sleep", "exec sleep"))) == 0


def test_without_a_driver_there_are_none(tmp_path: Path) -> None:
    assert count_gpus({"PATH": str(tmp_path)}) == 0
