"""Files that a command knows again by their SHA-256."""

import re
from pathlib import Path

import pytest

from pneumo.runtime import recorded
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_text, temporary_prefix
from pneumo.runtime.recorded import check_recorded, free_target, publish_recorded


def is_refused(path: Path) -> bool:
    try:
        check_recorded("--out", path)
    except UserError:
        return True
    return False


def test_what_was_written_is_known_again_and_a_change_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    assert not is_refused(path)
    for text in ("first\n", "é\n", "é\n"):
        publish_recorded(path, text)
        assert path.read_bytes() == text.encode()
        assert not is_refused(path)
    path.write_text("first\n")
    assert is_refused(path), "what an earlier call wrote is not kept for ever"
    path.write_text("")
    assert not is_refused(path)
    path.with_name("other.csv").write_text("é\n")
    assert is_refused(path.with_name("other.csv"))
    assert {entry.name for entry in tmp_path.iterdir()} == {"s.csv", "other.csv", ".s.csv.pneumo-sha256"}


def test_a_place_where_no_record_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".s.csv.pneumo-sha256").mkdir()
    # Of 255 bytes: the record's name, or only that of the file that it is written to first.
    for name in ("s.csv", "n" * 242, "n" * 230):
        with pytest.raises(UserError):
            check_recorded("--out", tmp_path / name)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'd'}: Is a directory; expected a file that can be")):
        check_recorded("--out", tmp_path / "d")


def test_a_file_that_was_changed_meanwhile_stays_and_the_result_has_a_name_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s.csv"
    assert free_target(path) == path
    publish_recorded(path, "first")
    assert free_target(path) == path
    assert not caplog.records
    path.write_text("corrected by hand")
    (tmp_path / "s-2.metrics.json").symlink_to("nowhere")
    assert free_target(path) == tmp_path / "s-3.csv"
    path.unlink()
    path.mkdir()
    assert free_target(path) == tmp_path / "s-3.csv"
    assert f"{path} was changed meanwhile, and stays as it is; this result is {tmp_path / 's-3.csv'}" in caplog.text


@pytest.mark.parametrize("writes", range(3))
def test_a_kill_at_any_time_leaves_a_file_that_is_known(
    tmp_path: Path, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.csv"
    publish_recorded(path, "old")
    left = iter(range(writes))

    def killed(target: Path, text: str) -> None:
        if next(left, None) is None:
            (tmp_path / f"{temporary_prefix(target.name)}abcdefgh").touch()
            raise KeyboardInterrupt
        publish_text(target, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recorded, "publish_text", killed)
        publish_recorded(path, "new")
    assert path.read_text() == ("old" if writes < 2 else "new")
    assert not is_refused(path)
    path.write_text("corrected by hand")
    assert is_refused(path)
    path.unlink()
    publish_recorded(path, "new")
    names = {entry.name for entry in tmp_path.iterdir()}
    # The temporary file of the submission itself is removed by who writes it.
    assert names - {f"{temporary_prefix('s.csv')}abcdefgh"} == {"s.csv", ".s.csv.pneumo-sha256"}
