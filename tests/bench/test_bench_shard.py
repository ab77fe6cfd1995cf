"""The usual conversion: its PNGs, and how its processes start."""

import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from pneumo.bench import shard
from pneumo.synthetic.tree import SyntheticTree


def test_the_conversion_starts_processes_as_the_build_does(
    synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    main.__file__ = str(tmp_path / "command.py")
    (tmp_path / "command.py").write_text("raise SystemExit('imported again')\n")
    monkeypatch.setitem(sys.modules, "__main__", main)
    paths = sorted(synthetic.test_dicom.iterdir())
    shard.convert_in_parallel(paths, tmp_path / "png", 2)
    assert sys.modules["__main__"] is main
    for path in paths:
        written = cv2.imread(str(tmp_path / "png" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(written, dcmread(path).pixel_array)
