"""Messages of one line, and the errors of the operating system that the user can fix."""

import errno
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from pneumo.runtime.errors import RECOVERABLE_ERRNOS, ExitCode, RankLost, UserError, as_user_error, counted, first_line


def test_an_error_is_one_line_whatever_it_names() -> None:
    text = str(UserError("new\nline\x1b[2J " + "x" * 10_000, "caf\udce9", "go on"))
    assert text.isprintable()
    assert text.startswith(r"new\nline\x1b[2J xxx")
    assert text.endswith(r"; expected caf\xe9; go on")
    assert len(text) < 3000


def test_a_message_is_one_line_whatever_it_repeats() -> None:
    error = UserError("a\nb\x1b[2J\udcff\u2028c", "x" * 5000, "fix it")
    assert str(error).startswith("a\\nb\\x1b[2J\\xff\\u2028c; expected x")
    assert str(error).endswith("x; fix it")
    assert " ... " in str(error)
    assert str(error).isprintable()
    assert error.found == "a\nb\x1b[2J\udcff\u2028c", "kept as it was"


@pytest.mark.parametrize("number", RECOVERABLE_ERRNOS, ids=errno.errorcode.get)
def test_an_error_of_the_system_has_its_path_and_what_to_do(number: int) -> None:
    error = as_user_error(OSError(number, os.strerror(number), "/data/x"))
    assert error is not None
    assert error.found == f"/data/x: {os.strerror(number)}"
    assert (error.expected, error.action.split(", and start")[0]) == RECOVERABLE_ERRNOS[number]
    assert error.action.endswith("start the same command again")


PARTS = ("masks.csv, line 3:\n4 columns", "2 columns \x1b", "x" * 5000)


def refuse_in_a_worker() -> None:
    raise UserError(*PARTS)


def test_an_error_keeps_its_parts_on_the_way_from_another_process() -> None:
    with ProcessPoolExecutor(1, get_context("forkserver")) as pool, pytest.raises(UserError) as caught:
        pool.submit(refuse_in_a_worker).result()
    for error in (caught.value, pickle.loads(pickle.dumps(UserError(*PARTS)))):
        assert (error.found, error.expected, error.action) == PARTS
        assert str(error) == str(UserError(*PARTS))
    lost = pickle.loads(pickle.dumps(RankLost("rank 1 failed", ExitCode.USER)))
    assert (str(lost), lost.code) == ("rank 1 failed", ExitCode.USER)


def test_other_errors_are_bugs() -> None:
    user_error = UserError("found", "expected", "action")
    assert as_user_error(user_error) is user_error
    for bug in (OSError(errno.EINVAL, "Invalid argument"), OSError("no number"), KeyError("x"), MemoryError()):
        assert as_user_error(bug) is None


def test_first_line_has_the_type_and_no_more_than_one_line() -> None:
    assert first_line(ValueError("one\ntwo")) == "ValueError: one"
    assert first_line(KeyError()) == "KeyError: "
    assert len(first_line(ValueError("x" * 10_000))) == len("ValueError: ") + 200


def test_one_of_a_kind_is_no_plural() -> None:
    assert [counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [counted(number, "file is", "files are") for number in (1, 2)] == ["1 file is", "2 files are"]
