"""The Jobs of k8s/cpu and k8s/multi-node: real processes in an emulated Kubernetes (see cluster.py)."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import container
import pytest
from cluster import Cluster
from indexed_job import Pod
from manifests import ROOT, Object, find, variant

UNAVAILABLE = container.unavailable()
pytestmark = [
    pytest.mark.k8s,
    pytest.mark.skipif(bool(UNAVAILABLE), reason=f"cannot make containers: {UNAVAILABLE}"),
]
RECIPE = ["--epochs", "4", "--image-size", "32", "--model.decoder-channels", *["16"] * 5]
RECIPE += ["--checkpoint-minutes", "0.01"]
USER = 10001


def submitted(name: str) -> list[Object]:
    """Return a variant's objects with a shorter wait and a recipe of some steps."""
    objects = variant(name)
    settings = find(objects, "ConfigMap/pneumo")["data"]
    settings |= {"WAIT": "3", "TRAIN_FLAGS": " ".join(RECIPE)}
    return objects


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(submitted("cpu"), tmp_path)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def uninterrupted(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local run on the same images, by one process on one core."""
    run = tmp_path_factory.mktemp("runs") / "uninterrupted"
    run_locally("train.py", "--dataset", dataset, "--run", run, "--recipe", "debug", *RECIPE)
    return run


def run_locally(script: str, *arguments: object, cores: int = 1) -> None:
    usable = ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:cores])
    command = ["taskset", "-c", usable, sys.executable, ROOT / "job" / script, *arguments]
    done = subprocess.run([str(w) for w in command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def assert_same(run: Path, other: Path, *names: str) -> None:
    for name in names:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


RESULT = ("fold-0/model.safetensors", "fold-1/model.safetensors", "oof.csv", "thresholds.json", "submission.csv")


class Interruption:
    """Waits until a fold's first pod has saved a checkpoint within an epoch."""

    def __init__(self, cluster: Cluster, run: Path, index: int) -> None:
        self.cluster, self.index, self.done = cluster, index, False
        self.fold = run / f"fold-{index}"

    def due(self) -> Pod | None:
        """Return the pod to interrupt, once."""
        if self.done or not list(self.fold.glob("checkpoints/step-*-epoch-0000")):
            return None
        pod = next((p for p in self.cluster.running if p.job.name == "folds" and p.index == self.index), None)
        if pod is not None:
            assert not (self.fold / "fold.json").exists(), "it ended before it could be interrupted"
            self.done = True
        return pod


def control_groups() -> set[Path]:
    return set(Path("/sys/fs/cgroup/memory").glob("pneumo-*"))


def test_everything_applied_at_once_ends_in_the_same_submission(cluster: Cluster, uninterrupted: Path) -> None:
    before = control_groups()  # of a suite that was killed
    run = cluster.volume("runs") / "debug"
    killed, disrupted = Interruption(cluster, run, 0), Interruption(cluster, run, 1)

    def interrupt() -> None:
        if (pod := killed.due()) is not None:
            pod.kill(signal.SIGKILL)
        if (pod := disrupted.due()) is not None:
            pod.delete(disrupted=True)

    # In reverse order, so that each Job starts before its input exists.
    for name in ("ensemble", "folds"):
        cluster.apply(name)
        cluster.run(lambda job=cluster.jobs[name]: bool(job.history))
    cluster.apply("shard", "input")

    def over() -> bool:
        conditions = {job.condition for job in cluster.jobs.values()}
        return "Failed" in conditions or conditions == {"Complete"}

    cluster.run(over, seconds=500, tick=interrupt)

    assert {name: job.condition for name, job in cluster.jobs.items()} == dict.fromkeys(
        ["input", "shard", "folds", "ensemble"], "Complete"
    ), cluster.describe()
    assert killed.done
    assert disrupted.done
    folds = cluster.jobs["folds"]
    assert (0, 137, "Count") in folds.history
    assert (1, 3, "Ignore") in folds.history
    assert folds.counted == {0: 1}
    # Pods that started too early waited in their init container, and ended.
    for name, missing in [("ensemble", "/runs/debug/recipe.json"), ("folds", "/data/synthetic/dataset.json")]:
        early = next(pod for pod in cluster.ended if pod.job.name == name)
        assert early.codes == [3]
        assert early.log == f"found no {missing} yet\n"
    assert "resumes from step-" in next(p.log for p in cluster.ended if p.job is folds and p.index == 1 and _done(p))
    assert set(cluster.jobs["ensemble"].history) <= {(0, 3, "Ignore")}
    assert_same(run, uninterrupted, *RESULT)
    assert (run / "submission.csv").stat().st_uid == USER
    assert control_groups() <= before, "a control group is left behind"


def _done(pod: Pod) -> bool:
    return pod.codes[-1:] == [0]


def test_a_fold_that_fails_for_good_stops_no_other_and_resumes_when_fixed(
    cluster: Cluster, dataset: Path, uninterrupted: Path
) -> None:
    put(cluster, "data", dataset, "synthetic")
    run = cluster.volume("runs") / "debug"
    claim(cluster, "runs")
    (run / "fold-1").mkdir(parents=True)
    for directory in (run, run / "fold-1"):
        os.chown(directory, USER, USER)
    cluster.apply("folds", "ensemble")
    folds, ensemble = cluster.jobs["folds"], cluster.jobs["ensemble"]
    (run / "fold-1").chmod(0o555)
    cluster.run(lambda: bool(folds.condition), seconds=200)
    assert folds.condition == "Failed"
    assert folds.failed == {1: 2}
    assert folds.succeeded == {0}, "the other fold was trained to its end"
    assert [entry for entry in folds.history if entry[0] == 1] == [(1, 2, "FailIndex")], "not restarted"
    log = next(pod.log for pod in cluster.ended if pod.job is folds and pod.index == 1)
    assert "/fold-1/.lock: Permission denied; expected permission" in log
    assert "Traceback" not in log
    seen = len(ensemble.history)
    cluster.run(lambda: len(ensemble.history) > seen, seconds=100)
    assert ensemble.history[-1] == (0, 3, "Ignore")
    assert "fold 1 of /runs/debug not trained yet" in cluster.ended[-1].log
    assert not ensemble.condition
    assert not (run / "submission.csv").exists()
    (run / "fold-1").chmod(0o755)
    before = (run / "fold-0" / "model.safetensors").stat().st_mtime_ns
    cluster.apply("folds")  # deleted and applied again
    cluster.run(lambda: bool(ensemble.condition), seconds=300)
    assert ensemble.condition == cluster.jobs["folds"].condition == "Complete"
    assert (run / "fold-0" / "model.safetensors").stat().st_mtime_ns == before, "a finished fold is not trained again"
    assert_same(run, uninterrupted, *RESULT)


def test_pods_that_start_beside_those_of_a_deleted_job_wait_until_they_have_saved(
    cluster: Cluster, dataset: Path, uninterrupted: Path
) -> None:
    put(cluster, "data", dataset, "synthetic")
    run = cluster.volume("runs") / "debug"
    claim(cluster, "runs")
    (run / "fold-1").mkdir(parents=True)
    for directory in (run, run / "fold-1"):
        os.chown(directory, USER, USER)
    cluster.apply("folds")
    folds = cluster.jobs["folds"]
    with (run / "fold-1" / ".lock").open("w") as lock:
        os.chown(lock.fileno(), USER, USER)
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the old pod does while it saves
        cluster.run(lambda: bool(folds.history), seconds=200)
        assert folds.history == [(1, 3, "Ignore")]
        log = next(pod.log for pod in cluster.ended if pod.index == 1)
        assert "another process works on fold 1 of /runs/debug" in log
        assert "start the same command again later" in log
        (run / "fold-1" / ".lock").unlink()
    cluster.run(lambda: bool(folds.condition), seconds=200)
    assert folds.condition == "Complete", cluster.describe()
    assert_same(run, uninterrupted, *RESULT[:2])


def test_wrong_settings_fail_at_once(cluster: Cluster, dataset: Path) -> None:
    put(cluster, "data", dataset, "synthetic")
    find(cluster.objects, "ConfigMap/pneumo")["data"] |= {"TRAIN_FLAGS": "--epochs many", "MASKS": "/input/nowhere.csv"}
    claim(cluster, "input")
    (cluster.volume("input") / "synthetic").mkdir()
    find(cluster.objects, "ConfigMap/pneumo")["data"]["DATASET"] = "/data/other"
    cluster.apply("shard")
    shard = cluster.jobs["shard"]
    cluster.run(lambda: bool(shard.condition) and not cluster.running, seconds=100)
    assert shard.condition == "Failed"
    assert shard.history[0][1:] == (2, "FailJob")
    assert not (cluster.volume("data") / "other" / "dataset.json").exists()

    find(cluster.objects, "ConfigMap/pneumo")["data"]["DATASET"] = "/data/synthetic"
    cluster.apply("folds")
    folds = cluster.jobs["folds"]
    cluster.run(lambda: bool(folds.condition), seconds=100)
    assert folds.condition == "Failed"
    assert sorted(folds.history) == [(0, 2, "FailIndex"), (1, 2, "FailIndex")]


def test_a_fold_over_two_pods_survives_the_loss_of_one(dataset: Path, tmp_path: Path) -> None:
    objects = submitted("multi-node")
    settings = find(objects, "ConfigMap/pneumo")["data"]
    settings |= {"DATASET": "/data/synthetic", "RUN": "/runs/debug", "RECIPE": "debug"}
    settings["TRAIN_FLAGS"] += " --rank-timeout 20"
    job = find(objects, "Job/folds")["spec"]
    job |= {"completions": 2, "parallelism": 2}
    resources = {"cpu": "1", "memory": "3Gi"}
    job["template"]["spec"]["containers"][0]["resources"] = {"requests": resources, "limits": resources}
    cluster = Cluster(objects, tmp_path)
    put(cluster, "data", dataset, "synthetic")
    run = cluster.volume("runs") / "debug"
    checkpoints = run / "fold-0" / "checkpoints"
    lost: list[Pod] = []

    def lose_one() -> None:
        pod = next((p for p in cluster.running if p.index == 1), None)
        if not lost and pod is not None and list(checkpoints.glob("step-*-epoch-0000")):
            assert not (run / "fold-0" / "fold.json").exists(), "it ended before it could be interrupted"
            lost.append(pod)
            pod.kill(signal.SIGKILL)

    cluster.apply("folds")
    folds = cluster.jobs["folds"]
    try:
        cluster.run(lambda: bool(folds.condition), seconds=300, tick=lose_one)
    finally:
        cluster.stop()
    assert folds.condition == "Complete", cluster.describe()
    assert folds.history == [(1, 137, "Count")], "the other pod stays, and its ranks are restarted"
    first = next(pod.log for pod in cluster.ended if pod.index == 0)
    assert "restarting the ranks (1 of 10)" in first
    assert "resumes from step-" in first

    reference_run = tmp_path / "reference_run"
    launch = ["--processes", "2", ROOT / "job" / "train.py", "--dataset", dataset, "--run", reference_run]
    launch += ["--folds", "0"]
    run_locally("launch.py", *launch, "--recipe", "debug", *RECIPE, cores=2)
    assert_same(run, reference_run, "fold-0/model.safetensors", "fold-0/oof.parquet")


def claim(cluster: Cluster, name: str) -> None:
    """Create a claim's volume, as its storage class does."""
    directory = cluster.volume(name)
    directory.mkdir(parents=True)
    os.chown(directory, 0, USER)
    directory.chmod(0o2775)


def put(cluster: Cluster, name: str, source: Path, place: str) -> None:
    """Copy a directory into a claim's volume."""
    claim(cluster, name)
    shutil.copytree(source, cluster.volume(name) / place)
