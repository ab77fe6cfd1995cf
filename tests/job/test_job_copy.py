"""--cache-dir as a user has it: a read-only mount, an object store, copies that are killed, and no remote any more."""

import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from job_commands import JOB, RECIPE, interrupted, launch, run, start, train, weights
from waiting import wait_until

from pneumo.dataset import paths
from pneumo.dataset.local_copy import LocalCopy
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SampleTable


@pytest.fixture
def other_disk() -> Iterator[Path]:
    """A directory on a file system that is not that of the tests' files."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.fixture
def remote(dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(dataset, tmp_path / "remote", ignore=shutil.ignore_patterns("logs"))


@pytest.mark.slow
def test_a_copy_from_a_read_only_mount_is_killed_and_continued_by_one_of_two_ranks(
    alone: Path, remote: Path, tmp_path: Path, other_disk: Path, read_only: Callable[[Path], None]
) -> None:
    read_only(remote)
    copy = LocalCopy(other_disk, Manifest.read(remote))
    words = [JOB / "train.py", "--dataset", remote, "--run", tmp_path / "run", *RECIPE, "--cache-dir", other_disk]
    code, output = run(words, launcher=interrupted(tmp_path / "at", r"shards/[a-z]+-\d+\.tar$", signal.SIGKILL))
    assert code == -signal.SIGKILL, output
    assert re.search(r"copying .*/remote to .*: 2 shards, \d+ kB of .* free", output)
    assert not copy.is_complete
    assert not (tmp_path / "run").exists()
    # One of two ranks copies what is left, and the run has the bytes of one that reads the dataset where it is.
    code, output = run(words, launcher=launch(2))
    assert code == 0, output
    assert output.count(" is a complete copy of ") == 1
    assert copy.is_complete
    for fold in (0, 1):
        assert weights(tmp_path / "run", fold) == weights(alone, fold)


def test_an_ensemble_reads_a_copy_of_a_url(alone: Path, dataset: Path, tmp_path: Path) -> None:
    words = ["--runs", alone, "--dataset", f"file://{dataset}", "--out", tmp_path / "s.csv"]
    code, output = run([JOB / "ensemble.py", *words, "--cache-dir", tmp_path / "cache"])
    assert code == 0, output
    assert f"is a complete copy of file://{dataset}" in output
    assert (tmp_path / "s.csv").read_bytes() == (alone / "submission.csv").read_bytes()


@pytest.mark.slow
def test_two_runs_at_once_copy_once(dataset: Path, tmp_path: Path, other_disk: Path) -> None:
    words = [JOB / "train.py", "--dataset", dataset, *RECIPE, "--epochs", 1, "--folds", 0, "--cache-dir", other_disk]
    # The first one stays within its copy until the second one has said that it waits.
    first = start([*words, "--run", tmp_path / "a"], launcher=interrupted(tmp_path / "at", r"samples\.parquet$", "go"))
    wait_until((tmp_path / "at" / "reached").exists, first)
    second = start([*words, "--run", tmp_path / "b"])
    assert second.stdout is not None
    heard = ""
    while "waiting for" not in heard:
        line = second.stdout.readline()
        assert line, heard
        heard += line
    (tmp_path / "at" / "go").touch()
    outputs = [process.communicate()[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert (outputs[0].count("is a complete copy of"), outputs[1].count("is a complete copy of")) == (1, 0)
    assert re.search(r"to be copied by another process \(process \d+ on ", heard)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_a_flipped_bit_of_the_remote_is_what_it_is_without_a_copy(
    remote: Path, tmp_path: Path, other_disk: Path
) -> None:
    table = SampleTable.read(remote)
    tar = paths.shards(remote) / "train-000000.tar"
    content = bytearray(tar.read_bytes())
    content[int(table.offset[3]) + 50] ^= 4
    tar.write_bytes(content)
    words = ["--dataset", remote, "--run", tmp_path / "run", *RECIPE, "--epochs", 1, "--cache-dir", other_disk]
    code, output = run([JOB / "train.py", *words])
    assert code == 2
    assert "is a copy of" in output
    assert "with 1 damaged shard, which each start tries to copy again" in output
    named = f"image {table.image_id[3]}"
    assert f"damaged in {remote}: shards/train-000000.tar: {named}: its jpg member is damaged" in output
    assert re.search(rf"{named} in shards/train-000000.tar of {other_disk}/.*: the jpg member is damaged", output)
    words[3] = tmp_path / "skipping"
    code, output = run([JOB / "train.py", *words, "--skip-damaged"])
    assert code == 0, output
    assert str(table.image_id[3]) in (tmp_path / "skipping" / "recipe.json").read_text()


def test_an_object_store_is_read_once_and_a_run_goes_on_without_it(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3 = pytest.importorskip("boto3", reason="needs moto, of the extra test")
    server = pytest.importorskip("moto.server", reason="needs moto, of the extra test")
    pytest.importorskip("s3fs", reason="needs s3fs, of the extra s3")
    store = server.ThreadedMotoServer(port=0, verbose=False)
    store.start()
    flags = ["--folds", 0, "--epochs", 1, "--cache-dir", tmp_path / "cache"]
    url = "s3://bucket/sets/siim"
    try:
        host, port = store.get_host_and_port()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S3CR3T")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        for path in dataset.rglob("*"):
            if path.is_file():
                client.upload_file(str(path), "bucket", f"sets/siim/{path.relative_to(dataset)}")
        # The run was started on a directory: the path is no part of it.
        train(dataset, tmp_path / "run", *flags[:4])
        output = train(Path(url), tmp_path / "run", *flags)
        assert f" is a complete copy of {url}" in output
        assert f"job/ensemble.py --runs {tmp_path}/run --dataset {url} --out" in output
        assert f"--cache-dir {tmp_path}/cache writes the metrics" in output
        # The next start reads dataset.json and nothing else.
        for name in ("samples.parquet", "shards/train-000000.tar", "shards/test-000000.tar"):
            client.delete_object(Bucket="bucket", Key=f"sets/siim/{name}")
        assert "copy of" not in train(Path(url), tmp_path / "run", *flags)
    finally:
        store.stop()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert f"{url} cannot be read: going on with " in train(Path(url), tmp_path / "run", *flags)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"S3CR3T" in path.read_bytes()]
