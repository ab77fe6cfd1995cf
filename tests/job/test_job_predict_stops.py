"""A prediction that is stopped, by any signal at any moment, leaves nothing of a patient: only whole results."""

import signal
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from job_commands import COLD, JOB, interrupted, start
from waiting import LONG_S, wait_until

from pneumo.runtime import result_directory
from pneumo.runtime.files import publish_text
from pneumo.synthetic.tree import SyntheticTree

pytestmark = pytest.mark.slow

MOMENTS = {
    "headers are read": r"dataset/\.build/plan\.json$",
    "a shard is written": r"shards/test-000000\.tar$",
    "the shards are written": r"dataset/samples\.parquet$",
    "images are predicted": r"results/overlays/.*\.png$",
    "tables are written": r"results/findings\.csv$",
}
AN_OVERLAY_IS_MOVED = r"out/overlays/.*\.png$"
"""The moment at which some results are in ``--out`` and others are not yet."""


@pytest.mark.parametrize(
    ("moment", "number", "packed"),
    [
        *((moment, signal.SIGKILL, False) for moment in MOMENTS),
        ("headers are read", signal.SIGHUP, False),
        ("a shard is written", signal.SIGTERM, False),
        ("the shards are written", signal.SIGUSR1, False),
        ("images are predicted", signal.SIGINT, False),
        # What was unpacked is a patient's, too.
        ("headers are read", signal.SIGKILL, True),
        ("a shard is written", signal.SIGTERM, True),
        ("images are predicted", signal.SIGKILL, True),
        ("tables are written", signal.SIGTERM, True),
    ],
)
def test_nothing_of_a_patient_stays_behind(
    all_positive: Path,
    synthetic: SyntheticTree,
    tmp_path: Path,
    short_directory: Path,
    moment: str,
    number: signal.Signals,
    packed: bool,
) -> None:
    out, incoming = tmp_path / "out", synthetic.test_dicom
    publish_text(tmp_path / "staged" / "findings.csv", "earlier")
    result_directory.publish(tmp_path / "staged", out)
    earlier = {path.name: path.read_bytes() for path in out.iterdir()}
    if packed:
        incoming = tmp_path / "in.zip"
        with zipfile.ZipFile(incoming, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in synthetic.test_dicom.iterdir():
                archive.write(file, file.name)
    shared_memory = set(Path("/dev/shm").iterdir())
    launcher = interrupted(tmp_path / "interruption", MOMENTS[moment], "go", launcher=COLD)
    process = start(
        [JOB / "predict.py", "--run", all_positive, "--dicom", incoming, "--out", out, "--workers", 1],
        launcher=["env", f"TMPDIR={short_directory}", *launcher],
    )
    wait_until((tmp_path / "interruption" / "reached").exists, process)
    assert list(out.glob(".shards.*"))
    process.send_signal(number)
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), output
    wait_until(lambda: not list(out.glob(".shards.*")))
    # A lock is the process's, and not of a patient; one that was killed leaves it.
    left = {path.name: path.read_bytes() for path in out.iterdir() if path.name != ".lock"}
    assert left == earlier
    assert not [path for path in short_directory.rglob("*") if path.is_file()]
    assert set(Path("/dev/shm").iterdir()) <= shared_memory


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_signal_while_results_are_moved(
    all_positive: Path,
    synthetic: SyntheticTree,
    tmp_path: Path,
    load_command: Callable[[str], ModuleType],
    number: signal.Signals,
) -> None:
    """It waits until all are, and one that cannot wait leaves what the next prediction knows as its own."""
    out, directory = tmp_path / "out", tmp_path / "interruption"
    command = [JOB / "predict.py", "--run", all_positive, "--dicom", synthetic.test_dicom, "--out", out, "--workers", 1]
    # With all cores: each library has its threads, any of which may take the signal.
    process = start(command, launcher=interrupted(directory, AN_OVERLAY_IS_MOVED, "go", launcher=[sys.executable]))
    wait_until((directory / "reached").exists, process)
    process.send_signal(number)
    time.sleep(1)
    (directory / "go").touch()
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), output
    wait_until(lambda: not list(out.glob(".shards.*")))
    result_directory.check(out, load_command("predict").WRITTEN)
    moved, images = len(list(out.glob("overlays/*.png"))), len(list(synthetic.test_dicom.iterdir()))
    assert (moved == images, (out / "summary.html").is_file()) == (number == signal.SIGTERM,) * 2
