"""A prediction that is stopped, by any signal at any moment, leaves nothing of a patient: only whole results."""

import shutil
import signal
import zipfile
from pathlib import Path

import pytest
from job_commands import COLD, JOB, interrupted, start
from waiting import LONG_S, wait_until

from pneumo.inference.decision_rule import DecisionRule, write_rule
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


@pytest.mark.parametrize("packed", [False, True], ids=["directory", "zip"])
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        *((moment, signal.SIGKILL) for moment in MOMENTS),
        ("headers are read", signal.SIGHUP),
        ("a shard is written", signal.SIGTERM),
        ("the shards are written", signal.SIGUSR1),
        ("images are predicted", signal.SIGINT),
        ("tables are written", signal.SIGTERM),
    ],
)
def test_nothing_of_a_patient_stays_behind(
    alone: Path, synthetic: SyntheticTree, tmp_path: Path, moment: str, number: signal.Signals, packed: bool
) -> None:
    run = shutil.copytree(alone, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    write_rule(run / "thresholds.json", DecisionRule(1, 0.0, 1))
    out, temporary, incoming = tmp_path / "out", tmp_path / "tmp", synthetic.test_dicom
    temporary.mkdir()
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
        [JOB / "predict.py", "--run", run, "--dicom", incoming, "--out", out, "--workers", 1],
        launcher=["env", f"TMPDIR={temporary}", *launcher],
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
    assert not [path for path in temporary.rglob("*") if path.is_file()]
    assert set(Path("/dev/shm").iterdir()) <= shared_memory
