"""The record of the input that an unfinished dataset is built from."""

from pathlib import Path

import pytest

from pneumo.dataset import paths
from pneumo.dataset.input_record import InputRecord, OtherInputError, write_or_check
from pneumo.dataset.plan import make
from pneumo.runtime.errors import UserError

PLAN = make([], {"1.2": "-1"}, None)
OTHER = make([], {"1.3": "-1"}, None)


def test_the_first_input_is_recorded_and_another_is_noticed(tmp_path: Path) -> None:
    write_or_check(tmp_path, PLAN)
    written = paths.plan(tmp_path).read_bytes()
    write_or_check(tmp_path, PLAN)
    with pytest.raises(OtherInputError, match="an unfinished dataset") as caught:
        write_or_check(tmp_path, OTHER)
    assert caught.value.record == InputRecord.of(PLAN) != InputRecord.of(OTHER)
    assert paths.plan(tmp_path).read_bytes() == written


@pytest.mark.parametrize("content", ["", "{}", '{"digest": 1}', "[1]", '{"digest": "' + "0" * 64])
def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path, content: str) -> None:
    paths.plan(tmp_path).parent.mkdir(parents=True)
    paths.plan(tmp_path).write_text(content)
    with pytest.raises(UserError, match=rf"{paths.plan(tmp_path)} cannot be read \(.*; remove {tmp_path} and start"):
        write_or_check(tmp_path, PLAN)
