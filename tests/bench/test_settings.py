"""The settings of the benchmarks."""

from pathlib import Path

import pytest

from pneumo.bench.settings import Settings
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
        Settings(**values)


def test_as_many_workers_as_this_process_may_use_cores():
    assert Settings().workers == available_cores()
