"""job/shard.py on bad files of every kind: it ends, counts every file, and repeats nothing of their content."""

import csv
import ctypes
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bad_files import BAD, GOOD, ROOT, good
from command_driver import call
from waiting import LONG_S

from pneumo.dataset import paths
from pneumo.dataset.manifest import Manifest
from pneumo.dicom.rejection import Reason

JOB = Path(__file__).parents[2] / "job" / "shard.py"
LIMITS = ["--time-limit", 3, "--memory-limit", 0.25, "--workers", 2]

DECODERS = """
import os, re, signal
from pneumo.dicom import image_file

FAULTS = {
    "hang": lambda: re.match("(a+)+b", 60 * "a"),  # for ages, with the interpreter's lock held
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "leave": lambda: os._exit(0),
    "raise": lambda: {}["ZZMARKER^ERIKA"],
}

def faulty(function):
    def wrapper(path):
        fault, _, place = path.stem.partition("-in-")
        if fault in FAULTS and place == function.__name__:
            FAULTS[fault]()
        return function(path)
    wrapper.__name__ = function.__name__
    return wrapper

image_file.scan, image_file.read = faulty(image_file.scan), faulty(image_file.read)
"""
"""What a broken decoder does to the process, at files named after it."""

FAULTY = {
    "hang-in-scan.dcm": "took_too_long",
    "hang-in-read.dcm": "took_too_long",
    "crash-in-scan.dcm": "crashed",
    "crash-in-read.dcm": "crashed",
    "killed-in-read.dcm": "too_much_memory",
    "leave-in-read.dcm": "crashed",
    "raise-in-scan.dcm": "crashed",
    "raise-in-read.dcm": "crashed",
}
OTHERS = {"twice/a.dcm": "duplicate", "twice/b.dcm": "duplicate", "bad-mask.dcm": "bad_mask"}
REASONS = {name.replace("\udcff", "\\xff").replace("\n", "\\n"): reason for name, (_, reason) in BAD.items()}
REASONS |= FAULTY | OTHERS


def bound_to_permissions() -> None:
    """Give up root's right to read everything, which ``exec`` would bring back."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@dataclass
class Ended:
    code: int
    stdout: str
    stderr: str


@dataclass
class Place:
    """A directory of all files, and beside it one of the good files only."""

    root: Path

    def shard(self, *words: object, dicom: str = "in", out: str = "out") -> Ended:
        arguments = ["--dicom", dicom, "--masks", "masks.csv", "--out", out, *LIMITS, *words]
        path = os.pathsep.join([str(self.root / "site"), str(JOB.parents[1]), *filter(None, sys.path)])
        ended = subprocess.run(
            [sys.executable, str(JOB), *map(str, arguments)], env=os.environ | {"PYTHONPATH": path},
            cwd=self.root, capture_output=True, text=True, timeout=LONG_S, check=False, preexec_fn=bound_to_permissions,
        )  # fmt: skip
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def quarantine(self, out: str = "out") -> list[dict[str, str]]:
        with (self.root / out / paths.QUARANTINE).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def shards(self, out: str = "out") -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in paths.shards(self.root / out).iterdir()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("hospital")
    for directory in ("in", "good", "site"):
        (root / directory).mkdir()
    (root / "site" / "sitecustomize.py").write_text(DECODERS)
    masks = ["ImageId, EncodedPixels", *(f"{ROOT}.{n}, {'-1' if n % 2 else '0 40'}" for n in range(GOOD))]
    for number in range(GOOD):
        # One is in a directory that is named like a file.
        for directory in (root / "in", root / "good"):
            path = directory / ("study.dcm" if number == 3 else "") / f"{number}.dcm"
            path.parent.mkdir(exist_ok=True)
            good(number)(path)
    for number, name in enumerate([*BAD, *FAULTY, *OTHERS]):
        path = root / "in" / name
        path.parent.mkdir(exist_ok=True)
        (BAD[name][0] if name in BAD else good(100 + number))(path)
        masks.append(f"{ROOT}.{100 + number}, {'900 9999' if name == 'bad-mask.dcm' else '-1'}")
    masks.append("picture, -1")  # a picture's id is its name
    masks += [f"{ROOT}.9.{n}, -1" for n in range(100)]
    # Two files that claim to be one image, a copy of a good file, a file without a row, and a loop of links.
    content = bytearray((root / "in" / "twice" / "a.dcm").read_bytes())
    content[-1] ^= 1
    (root / "in" / "twice" / "b.dcm").write_bytes(content)
    (root / "in" / "copy.dcm").write_bytes((root / "in" / "1.dcm").read_bytes())
    good(99)(root / "in" / "unlabeled.dcm")
    (root / "in" / "study.dcm" / "again").symlink_to(root / "in")
    (root / "masks.csv").write_text("\n".join(masks) + "\n")
    yield Place(root)
    (root / "in" / "locked").chmod(0o700)


@pytest.fixture(scope="module")
def refused(place: Place) -> Ended:
    """The command with the default limit, which finds too many bad files."""
    return place.shard()


@pytest.fixture(scope="module")
def shards_of_refused(place: Place, refused: Ended) -> dict[str, bytes]:
    assert refused.code == 2
    return place.shards()


@pytest.fixture(scope="module")
def accepted(place: Place, shards_of_refused: object) -> Ended:
    """The same command with the limit raised."""
    return place.shard("--max-quarantined", 100)


def test_too_many_bad_files_are_an_error_with_their_number_reasons_and_list(place: Place, refused: Ended) -> None:
    assert refused.code == 2, refused.stderr
    assert refused.stdout == ""
    found = len(REASONS) + GOOD + 2
    share = 100 * len(REASONS) / found
    last = refused.stderr.splitlines()[-1]
    assert f"{len(REASONS)} of {found} files ({share:.1f} %) quarantined: " in last
    counts = sorted((list(REASONS.values()).count(reason) for reason in set(REASONS.values())), reverse=True)
    assert [int(part.split()[0]) for part in last.partition("quarantined: ")[2].partition(";")[0].split(", ")] == counts
    assert "; expected at most 5 %; see what to do about each in out/quarantine.csv" in last
    assert "a higher --max-quarantined" in last
    assert "Traceback" not in refused.stderr
    assert "1 directory cannot be listed: each counts as one file" in refused.stderr
    assert not (place.root / "out" / paths.MANIFEST).exists()
    assert not (place.root / "out" / paths.SAMPLES).exists()


def test_a_higher_limit_accepts_them_after_another_attempt_at_those_that_may_be_readable(
    place: Place, shards_of_refused: dict[str, bytes], accepted: Ended
) -> None:
    assert accepted.code == 0, accepted.stderr
    assert place.shards() == shards_of_refused
    assert "writing 1 shard again, with files that may be" in accepted.stderr
    assert not paths.build(place.root / "out").exists()


def test_every_file_is_accounted_for(place: Place, accepted: Ended) -> None:
    manifest = Manifest.read(place.root / "out")
    assert (manifest.samples, manifest.quarantined) == (GOOD, len(REASONS))
    assert (manifest.unlabeled, manifest.merged_duplicates) == (1, 1)
    assert manifest.found == GOOD + len(REASONS) + 2
    assert accepted.stdout.startswith(
        f"{manifest.found} files found = {GOOD} samples + {len(REASONS)} quarantined + 0 left out + 1 unlabeled"
        " + 1 merged duplicates\n"
    )


@pytest.mark.parametrize("name", REASONS)
def test_each_bad_file_has_its_row_and_reason(place: Place, accepted: Ended, name: str) -> None:
    rows = [row for row in place.quarantine() if row["file"] == name]
    assert [row["reason"] for row in rows] == [REASONS[name]], rows
    assert all(rows[0][column] for column in ("split", "phase", "found", "expected", "action")), rows


HELPS: dict[Reason, tuple[str, ...]] = {
    Reason.NOT_A_FILE: ("leave it out", "fetch the file that it links to"),
    Reason.EMPTY_FILE: ("fetch the file again",),
    Reason.UNREADABLE: ("check its permissions",),
    Reason.UNKNOWN_FORMAT: ("unpack it", "fetch the file again", "leave it out"),
    Reason.BAD_ARCHIVE: ("fetch the file again",),
    Reason.BAD_HEADER: ("fetch the file again",),
    Reason.NOT_AN_IMAGE: ("leave it out",),
    Reason.NO_ID: ("--id file-name",),
    Reason.NO_PIXELS: ("leave it out",),
    Reason.BAD_FRAME: ("fetch the file again", "correct its header"),
    Reason.UNSUPPORTED: ("convert it", "make it smaller", "export the image"),
    Reason.DUPLICATE: ("keep the right one",),
    Reason.BAD_MASK: ("check that the masks CSV belongs to these files",),
    Reason.TOOK_TOO_LONG: ("raise --time-limit",),
    Reason.TOO_MUCH_MEMORY: ("raise --memory-limit", "fewer --workers", "leave it out"),
    Reason.CRASHED: ("start the same command again",),
}
"""What helps for each reason, in the words of the row and of the page."""


@pytest.mark.parametrize("reason", Reason)
def test_what_the_rows_say_to_do_is_what_the_page_says_and_flags_exist(
    place: Place, accepted: Ended, reason: Reason
) -> None:
    page = (JOB.parent / "QUARANTINE.md").read_text().replace("`", "")
    (cell,) = re.findall(rf"^\| {reason} \| .* \| (.*) \|$", page, re.MULTILINE)
    actions = {row["action"] for row in place.quarantine() if row["reason"] == reason}
    assert all(any(words in action for words in HELPS[reason]) for action in actions), actions
    for words in HELPS[reason]:
        assert words in cell, words
        assert any(words in action for action in actions), words
    for command in ("shard", "predict"):
        shown = call(command, ["--help"])[1]
        # gdcmconv has the other one.
        flags = set(re.findall(r"--[a-z][a-z-]+", " ".join([cell, *actions]))) - {"--raw"}
        assert all(flag in shown for flag in flags), flags


def test_no_other_file_has_a_row_and_every_reason_occurs(place: Place, accepted: Ended) -> None:
    assert sorted(row["file"] for row in place.quarantine()) == sorted(REASONS)
    assert {row["reason"] for row in place.quarantine()} == set(Reason)


def test_no_content_of_a_file_is_repeated(place: Place, refused: Ended, accepted: Ended) -> None:
    printed = [refused.stderr, accepted.stdout, accepted.stderr]
    written = [path.read_bytes() for path in (place.root / "out").rglob("*") if path.is_file()]
    for content in [*(text.encode() for text in printed), *written]:
        assert b"ZZMARKER" not in content
        assert b"ERIKA" not in content


def test_the_shards_are_those_of_the_good_files_only(place: Place, accepted: Ended) -> None:
    alone = place.shard(dicom="good", out="out-good")
    assert alone.code == 0, alone.stderr
    assert place.shards("out-good") == place.shards()


def test_a_finished_dataset_is_checked_against_the_limit_too(place: Place, accepted: Ended) -> None:
    def times() -> dict[Path, int]:
        # Each start adds its log.
        written = (path for path in (place.root / "out").rglob("*") if "logs" not in path.parts)
        return {path: path.stat().st_mtime_ns for path in written}

    before = times()
    again = place.shard("--max-quarantined", 20)
    assert again.code == 2, again.stderr
    assert "expected at most 20 %" in again.stderr
    assert times() == before


def test_nothing_usable_leaves_the_list_and_frees_the_directory(place: Place) -> None:
    (place.root / "junk").mkdir()
    (place.root / "junk" / "a.dcm.gz").write_bytes(gzip.compress(b"x"))
    ended = place.shard(dicom="junk", out="out-junk")
    assert ended.code == 2
    assert "no usable image in 1 file (1 unknown_format)" in ended.stderr
    unpack = "unpack it, and give the directory with the files that were in it"
    assert f"out-junk/quarantine.csv (action: {unpack})" in ended.stderr
    assert [(row["file"], row["action"]) for row in place.quarantine("out-junk")] == [("a.dcm.gz", unpack)]
    # With the right directory the same --out works.
    assert place.shard(dicom="good", out="out-junk").code == 0
    assert place.quarantine("out-junk") == []
    assert json.loads((place.root / "out-junk" / paths.MANIFEST).read_text())["samples"] == GOOD


def test_limits_are_checked(place: Place) -> None:
    ended = place.shard("--max-quarantined", "nan", out="out-never")
    assert ended.code == 2
    assert "max-quarantined nan; expected a finite number, 0 to 100" in ended.stderr
    assert not (place.root / "out-never").exists()
