"""The usual conversion: its PNGs, and how its processes start."""

import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from pneumo.bench import shard
from pneumo.bench.settings import Settings
from pneumo.dataset import scan
from pneumo.dataset.options import BuildInputs
from pneumo.synthetic.tree import SyntheticTree


def test_headers_that_another_task_has_read_are_not_read(
    synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[str]()
    scan_file = scan.scan_file
    monkeypatch.setattr(scan, "scan_file", lambda source: (read.append(source.file), scan_file(source))[1])
    inputs = BuildInputs(dicom=synthetic.test_dicom)
    (row,) = shard.headers_of_tasks(inputs, tmp_path, Settings(repeat=3))
    files = len(list(synthetic.test_dicom.iterdir()))
    # The other task once, and the baseline in three rounds and once before them.
    assert len(read) == 5 * files
    assert row.baseline == "reading them"
    assert f"1 process, {files} files" in row.what


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
