import csv
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pneumo.dataset import paths, quarantine
from pneumo.dataset.plan import make
from pneumo.dataset.scan import QuarantineRow
from pneumo.dicom.rejection import Reason
from pneumo.runtime.errors import UserError

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "job" / "QUARANTINE.md"


def row(file: str, reason: Reason = Reason.UNKNOWN_FORMAT, split: str = "train") -> QuarantineRow:
    return QuarantineRow(split, file, "", reason, "header", "this", "that", "do")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset's directory with lists of four rejected files."""
    rejected = [row("b", Reason.EMPTY_FILE), row("c"), row("a", split="test"), row("a")]
    quarantine.write(tmp_path, make([], {"1.2": "-1"}, None), rejected)
    return tmp_path


def test_lists_are_in_order_and_count(dataset: Path) -> None:
    with (dataset / paths.QUARANTINE).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["split"], row["file"]) for row in rows] == [
        *(("train", "a"), ("train", "b"), ("train", "c"), ("test", "a")),
    ]
    assert quarantine.count_reasons(dataset) == Counter(unknown_format=3, empty_file=1)
    assert quarantine.format_counts(quarantine.count_reasons(dataset)) == "3 unknown_format, 1 empty_file"
    assert "1.2,,no_file" in (dataset / paths.UNMATCHED).read_text()


def test_lists_are_named_only_where_they_name_something(dataset: Path) -> None:
    rejected, unmatched = dataset / paths.QUARANTINE, dataset / paths.UNMATCHED
    assert quarantine.describe_lists(dataset, "train") == f"see {rejected} (action: do) and {unmatched}"
    assert quarantine.describe_lists(dataset, "test") == f"see {rejected} (action: do)"
    place = Path("out")
    assert quarantine.describe_lists(dataset, "test", place).startswith(f"see {place / paths.QUARANTINE} ")
    quarantine.write(dataset, make([], {}, None), [row("a"), replace(row("b"), action="do more")])
    assert quarantine.describe_lists(dataset, "train") == f"see {rejected}"
    quarantine.write(dataset, make([], {}, None), [row("a")])
    assert quarantine.describe_lists(dataset, "test") == ""


def test_file_names_of_any_bytes_are_one_row_each(tmp_path: Path) -> None:
    names = ["a,b", 'a"b', "a\nb", "a\rb", b"\xff".decode("utf-8", "surrogateescape"), "=1+1"]
    quarantine.write(tmp_path, make([], {}, None), [row(name) for name in names])
    with (tmp_path / paths.QUARANTINE).open(encoding="utf-8", newline="") as file:
        assert {row["file"] for row in csv.DictReader(file)} == {"a,b", 'a"b', "a\\nb", "a\\rb", "\\xff", "'=1+1"}
    assert quarantine.count_reasons(tmp_path).total() == len(names)


@pytest.mark.parametrize(
    ("quarantined", "found", "limit", "many"),
    [
        (0, 0, 0, False),
        (5, 100, 5, False),
        (6, 100, 5, True),
        (1, 3, 33.34, False),
        (1, 3, 33.33, True),
        (1, 1, 0, True),
    ],
)
def test_percentage_that_is_too_high(quarantined: int, found: int, limit: float, many: bool) -> None:
    assert quarantine.exceeds(quarantined, found, limit) == many


def test_too_many_are_an_error_with_number_reasons_list_and_action(dataset: Path) -> None:
    with pytest.raises(UserError) as caught:
        quarantine.check_percent(dataset, 4, 40, 5)
    assert caught.value.found == "4 of 40 files (10.0 %) quarantined: 3 unknown_format, 1 empty_file"
    assert caught.value.expected == "at most 5 %"
    assert str(dataset / paths.QUARANTINE) in caught.value.action
    assert "a higher --max-quarantined" in caught.value.action


def test_few_are_logged_and_none_are_not(
    dataset: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.runtime.console.log.propagate", True)
    quarantine.check_percent(dataset, 0, 40, 0)
    assert caplog.text == ""
    quarantine.check_percent(dataset, 4, 80, 5)
    assert "4 of 80 files (5.0 %) quarantined: 3 unknown_format, 1 empty_file; quarantine.csv names" in caplog.text


def test_a_missing_list_does_not_hide_the_number(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"4 of 40 files \(10.0 %\)"):
        quarantine.check_percent(tmp_path, 4, 40, 5)


def test_a_list_that_a_spreadsheet_saved_otherwise_names_nothing(dataset: Path) -> None:
    path = dataset / paths.QUARANTINE
    text = path.read_text()
    path.write_bytes(text.replace("train,b,", "train,caf\xe9,").encode("latin-1"))
    assert ("train", "") in quarantine.read_images(dataset)
    limit = csv.field_size_limit(1000)
    path.write_text(text + 'test,"' + 2000 * "x")
    assert quarantine.count_reasons(dataset) == Counter()
    csv.field_size_limit(limit)
    path.write_text(text + "train,\n")
    assert quarantine.count_reasons(dataset) == Counter(unknown_format=3, empty_file=1)
    path.write_text(text.replace(",", ";"))
    assert quarantine.read_images(dataset) == set()
    assert quarantine.count_reasons(dataset) == Counter()
    assert "quarantine" not in quarantine.describe_lists(dataset, "train")


def test_page_explains_each_reason_and_column_once() -> None:
    text = PAGE.read_text()
    before, after = text.split("| reason |", maxsplit=1)
    columns, reasons = (
        re.findall(r"^\| (`.*?) \|", part, re.MULTILINE) for part in (before, after.split("\n\n", maxsplit=1)[0])
    )
    assert re.findall(r"`(\w+)`", " ".join(columns)) == list(quarantine.COLUMNS)
    assert [word.strip("`") for word in reasons] == [str(reason) for reason in Reason]
    assert "(job/QUARANTINE.md)" in (ROOT / "README.md").read_text()


def test_page_names_every_phase() -> None:
    source = "".join(
        path.read_text() for directory in ("dicom", "dataset") for path in (ROOT / "pneumo" / directory).rglob("*.py")
    )
    phases = set(re.findall(r'Reason\.[A-Z_]+,\s*"(\w+)"', source))
    listed = next(line for line in PAGE.read_text().splitlines() if line.startswith("| `phase`"))
    assert phases == set(re.findall(r"`(\w+)`", listed)) - {"phase"}
