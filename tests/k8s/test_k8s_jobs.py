"""The Jobs of k8s/cpu and k8s/multi-node for real: real processes, emulated Kubernetes (see cluster.py)."""

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
RECIPE = ["--epochs", "4", "--image-size", "32", "--checkpoint-every", "2"]
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
def undisturbed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local run on the same images, by one process on one core."""
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    local("train.py", "--dataset", dataset, "--run", run, "--recipe", "debug", *RECIPE)
    return run


def local(script: str, *words: object, cores: int = 1) -> None:
    usable = ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:cores])
    command = ["taskset", "-c", usable, sys.executable, ROOT / "job" / script, *words]
    done = subprocess.run([str(w) for w in command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def same(run: Path, other: Path, *names: str) -> None:
    for name in names:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


RESULT = ("fold-0/model.safetensors", "fold-1/model.safetensors", "oof.csv", "thresholds.json", "submission.csv")


class Trouble:
    """Hits a fold's first pod once it has saved something in mid-epoch."""

    def __init__(self, cluster: Cluster, run: Path, index: int) -> None:
        self.cluster, self.index, self.hit = cluster, index, False
        self.fold = run / f"fold-{index}"

    def ready(self) -> Pod | None:
        if self.hit or not list(self.fold.glob("checkpoints/step-*-epoch-0000")):
            return None
        pod = next((p for p in self.cluster.running if p.job.name == "folds" and p.index == self.index), None)
        if pod is not None:
            assert not (self.fold / "fold.json").exists(), "it was too fast to be disturbed"
            self.hit = True
        return pod


def test_everything_applied_at_once_ends_in_the_same_submission(cluster: Cluster, undisturbed: Path) -> None:
    run = cluster.volume("runs") / "debug"
    killed, disrupted = Trouble(cluster, run, 0), Trouble(cluster, run, 1)

    def disturb() -> None:
        if (pod := killed.ready()) is not None:
            pod.kill(signal.SIGKILL)
        if (pod := disrupted.ready()) is not None:
            pod.delete(disrupted=True)

    # The wrong way round, so that each stage comes before what it needs.
    for name in ("ensemble", "folds"):
        cluster.apply(name)
        cluster.run(lambda job=cluster.jobs[name]: bool(job.history))
    cluster.apply("shard", "input")

    def over() -> bool:
        conditions = {job.condition for job in cluster.jobs.values()}
        return "Failed" in conditions or conditions == {"Complete"}

    cluster.run(over, seconds=500, tick=disturb)

    assert {name: job.condition for name, job in cluster.jobs.items()} == dict.fromkeys(
        ["input", "shard", "folds", "ensemble"], "Complete"
    ), cluster.describe()
    assert killed.hit
    assert disrupted.hit
    folds = cluster.jobs["folds"]
    assert (0, 137, "Count") in folds.history
    assert (1, 3, "Ignore") in folds.history
    assert folds.counted == {0: 1}
    # Those that came too early looked, in the container before, and made room.
    for name, missing in [("ensemble", "/runs/debug/recipe.json"), ("folds", "/data/synthetic/dataset.json")]:
        early = next(pod for pod in cluster.ended if pod.job.name == name)
        assert early.codes == [3]
        assert early.log == f"found no {missing} yet\n"
    assert "goes on from step-" in next(p.log for p in cluster.ended if p.job is folds and p.index == 1 and _done(p))
    assert set(cluster.jobs["ensemble"].history) <= {(0, 3, "Ignore")}
    same(run, undisturbed, *RESULT)
    assert (run / "submission.csv").stat().st_uid == USER
    assert not list(Path("/sys/fs/cgroup/memory").glob("pneumo-*")), "a control group is left behind"


def _done(pod: Pod) -> bool:
    return pod.codes[-1:] == [0]


def test_a_fold_that_fails_for_good_stops_nobody_else_and_goes_on_when_mended(
    cluster: Cluster, dataset: Path, undisturbed: Path
) -> None:
    put(cluster, "data", dataset, "synthetic")
    run = cluster.volume("runs") / "debug"
    claim(cluster, "runs")
    (run / "fold-1").mkdir(parents=True)
    for folder in (run, run / "fold-1"):
        os.chown(folder, USER, USER)
    cluster.apply("folds", "ensemble")
    folds, ensemble = cluster.jobs["folds"], cluster.jobs["ensemble"]
    with (run / "fold-1" / ".lock").open("w") as lock:
        os.chown(lock.fileno(), USER, USER)
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another job's that trains this fold
        cluster.run(lambda: bool(folds.condition), seconds=200)
        assert folds.condition == "Failed"
        assert folds.failed == {1: 2}
        assert folds.succeeded == {0}, "the other fold was trained to its end"
        assert [entry for entry in folds.history if entry[0] == 1] == [(1, 2, "FailIndex")], "one try, no more"
        log = next(pod.log for pod in cluster.ended if pod.job is folds and pod.index == 1)
        assert "another job works on" in log
        assert "Traceback" not in log
        seen = len(ensemble.history)
        cluster.run(lambda: len(ensemble.history) > seen, seconds=100)
        assert ensemble.history[-1] == (0, 3, "Ignore")
        assert "fold 1 of /runs/debug not trained yet" in cluster.ended[-1].log
        assert not ensemble.condition
        assert not (run / "submission.csv").exists()
    before = (run / "fold-0" / "model.safetensors").stat().st_mtime_ns
    cluster.apply("folds")  # deleted and applied again
    cluster.run(lambda: bool(ensemble.condition), seconds=300)
    assert ensemble.condition == cluster.jobs["folds"].condition == "Complete"
    assert (run / "fold-0" / "model.safetensors").stat().st_mtime_ns == before, "a finished fold is not trained again"
    same(run, undisturbed, *RESULT)


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
            assert not (run / "fold-0" / "fold.json").exists(), "it was too fast to be disturbed"
            lost.append(pod)
            pod.kill(signal.SIGKILL)

    cluster.apply("folds")
    folds = cluster.jobs["folds"]
    try:
        cluster.run(lambda: bool(folds.condition), seconds=300, tick=lose_one)
    finally:
        cluster.stop()
    assert folds.condition == "Complete", cluster.describe()
    assert folds.history == [(1, 137, "Count")], "the other pod stays, and its ranks come back"
    first = next(pod.log for pod in cluster.ended if pod.index == 0)
    assert "restarting the ranks (1 of 10)" in first
    assert "goes on from step-" in first

    alone = tmp_path / "alone"
    launch = ["--processes", "2", ROOT / "job" / "train.py", "--dataset", dataset, "--run", alone, "--folds", "0"]
    local("launch.py", *launch, "--recipe", "debug", *RECIPE, cores=2)
    same(run, alone, "fold-0/model.safetensors", "fold-0/oof.parquet")


def claim(cluster: Cluster, name: str) -> None:
    """Make a claim's volume, as its storage class does."""
    folder = cluster.volume(name)
    folder.mkdir(parents=True)
    os.chown(folder, 0, USER)
    folder.chmod(0o2775)


def put(cluster: Cluster, name: str, source: Path, place: str) -> None:
    """Copy a folder into a claim's volume."""
    claim(cluster, name)
    shutil.copytree(source, cluster.volume(name) / place)
