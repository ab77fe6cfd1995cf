"""The benchmarks' settings and files."""

from pathlib import Path

import pytest

from pneumo.bench import source
from pneumo.runtime.errors import UserError
from pneumo.runtime.machine import available_cores


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"repeat": 0}, "--repeat 0; expected 1 to 1000"),
        ({"train_size": 100}, "a multiple of 32"),
        ({"dicom": Path("here")}, "both or neither"),
    ],
    ids=["repeat", "size", "masks"],
)
def test_wrong_settings_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        source.Settings(**values)


def test_as_many_workers_as_this_process_may_use_cores():
    assert source.Settings().workers == available_cores()


def test_real_files_are_spread_over_the_directory_and_keep_their_paths(tmp_path):
    root = tmp_path / "real"
    for number in range(9):
        path = root / f"study-{number}" / "image"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes([number]))
    settings = source.Settings(dicom=root, masks=tmp_path / "masks.csv", images=3)
    inputs = source.Source(settings, tmp_path / "work").inputs
    copied = {path.relative_to(inputs.dicom).as_posix() for path in inputs.dicom.rglob("image")}
    assert copied == {"study-0/image", "study-4/image", "study-8/image"}
