"""The image, built for real, and what runs in it: as its own user, read-only, without capabilities or network."""

import json
import subprocess
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from engine import Engine

from pneumo.synthetic.tree import SyntheticTree

pytestmark = pytest.mark.image
ROOT = Path(__file__).resolve().parents[2]
# One core: sums have one order, and results are equal to the last bit.
HARDENED = ["--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
HARDENED += ["--cpuset-cpus=0"]
TRAIN = ["job/train.py", "--dataset", "/data/set", "--recipe", "debug", "--epochs", "4", "--image-size", "32"]
TRAIN += ["--checkpoint-minutes", "0.001"]


class Box:
    """Containers of the image with the dataset's and the runs' directories."""

    def __init__(self, engine: Engine, image: str, directory: Path) -> None:
        self.engine = engine
        self.image = image
        self.data = directory / "data"
        self.runs = directory / "runs"
        self.count = 0
        for path in (self.data, self.runs):
            path.mkdir()
            path.chmod(0o777)  # the image's user writes here, and exists in the container alone

    def run(self, *command: str, flags: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        return self.engine.process([*self.words("run", "--rm", *flags), *command], timeout=600)

    def output(self, *command: str, flags: Sequence[str] = ()) -> str:
        done = self.run(*command, flags=flags)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *command: str) -> str:
        """Start a container in the background; give its name."""
        self.count += 1
        name = f"pneumo-test-{self.count}"
        self.engine(*self.words("run", "--detach", f"--name={name}"), *command)
        return name

    def words(self, *words: str) -> list[str]:
        volumes = [f"--volume={self.data}:/data", f"--volume={self.runs}:/runs"]
        return [*words, *self.engine.run_flags, *HARDENED, *volumes, self.image]


@pytest.fixture(scope="module")
def box(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Box:
    return Box(engine, image, tmp_path_factory.mktemp("box"))


@pytest.fixture(scope="module")
def sharded(box: Box, synthetic: SyntheticTree) -> Box:
    """The box with a dataset that a container built from DICOMs."""
    flags = [f"--volume={synthetic.dicom.parent}:/dicom:ro"]
    inside = {name: f"/dicom/{getattr(synthetic, name).name}" for name in ("dicom", "test_dicom", "masks", "patients")}
    words = [word for name, path in inside.items() for word in (f"--{name.replace('_', '-')}", path)]
    words = [
        *box.words("run", "--rm", *flags),
        "python",
        "job/shard.py",
        *words,
        "--num-folds",
        "2",
        "--out",
        "/data/set",
    ]
    box.engine(*words)
    assert (box.data / "set" / "dataset.json").exists()
    return box


@pytest.fixture(scope="module")
def uninterrupted(sharded: Box) -> bytes:
    """Submission of an uninterrupted run."""
    sharded.output("python", *TRAIN, "--run", "/runs/uninterrupted")
    return (sharded.runs / "uninterrupted" / "submission.csv").read_bytes()


def test_the_image_has_labels_and_a_user_of_its_own(box: Box) -> None:
    config = json.loads(box.engine("image", "inspect", "--format", "{{json .Config}}", box.image))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert config["User"] == "10001:10001"
    assert config["Labels"]["org.opencontainers.image.version"] == project["version"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == project["license"]
    assert not config.get("Entrypoint")
    assert config["Cmd"] == ["python", "job/train.py", "--help"]
    listed = box.output(
        "sh", "-c", "id -u; command -v gcc cc make git; ls -A /opt/pneumo /opt/pneumo/tests; touch /opt/pneumo/x; :"
    )
    assert listed.split() == ["10001", *listed.split()[1:]]
    assert not {"gcc", "cc", "make", "git"} & {word.rsplit("/", 1)[-1] for word in listed.split()}
    assert not {".git", ".venv", "docker", "slurm", "k8s", "runs", "data"} & set(listed.split())


def test_the_packages_are_those_of_the_lock(box: Box) -> None:
    files = (ROOT / "docker" / name for name in ("constraints.txt", "weights.txt"))
    locked = {line for path in files for line in path.read_text().splitlines()}
    code = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    found = set(box.output("python", "-c", code).lower().replace("_", "-").split())
    assert found - locked == {"pneumo==0.2.0"}
    assert {line.partition("==")[0] for line in found} >= {"torch", "nvidia-dali-cuda130", "tensorboard", "pytest"}


@pytest.mark.parametrize("user", ["10001:10001", "1234:1234"])
def test_training_starts_under_any_user(box: Box, user: str) -> None:
    assert "Exit codes" in box.output("python", "job/train.py", "--help", flags=[f"--user={user}"])


def test_wrong_input_ends_with_2(box: Box) -> None:
    done = box.run("python", "job/launch.py", "job/train.py", "--dataset", "/data/none", "--run", "/runs/none")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_tests_run(box: Box) -> None:
    assert " passed" in box.output("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/masks/test_rle.py")


def test_tensorboard_shows_the_runs(uninterrupted: bytes, sharded: Box) -> None:
    name = sharded.start("tensorboard", "--logdir", "/runs", "--port", "6006")
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:6006/data/runs', timeout=5).read().decode())"
    deadline = time.monotonic() + 120
    while True:
        asked = sharded.engine.process(["exec", name, "python", "-c", code])
        if "uninterrupted/fold-0" in asked.stdout:
            break
        assert time.monotonic() < deadline, asked.stdout + asked.stderr
        time.sleep(1)
    sharded.engine("rm", "--force", name)


@pytest.mark.parametrize("first", [[], ["job/launch.py", "--processes", "1"]], ids=["train", "launch"])
def test_a_stopped_container_saves_and_the_next_one_resumes(
    uninterrupted: bytes, sharded: Box, first: list[str], request: pytest.FixtureRequest
) -> None:
    run = f"stopped-{request.node.callspec.id}"
    command = ["python", *first, *TRAIN, "--run", f"/runs/{run}"]
    name = sharded.start(*command)
    deadline = time.monotonic() + 200
    while not list((sharded.runs / run).glob("fold-0/checkpoints/step-*")):
        state = sharded.engine("inspect", "--format", "{{.State.Status}}", name).strip()
        logs = sharded.engine.process(["logs", name])
        assert state in ("created", "initialized", "running"), (state, logs.stdout + logs.stderr)
        assert time.monotonic() < deadline, logs.stdout + logs.stderr
        time.sleep(0.05)
    sharded.engine("stop", "--time=100", name)
    assert sharded.engine("wait", name).strip() == "3", sharded.engine.process(["logs", name])
    assert not (sharded.runs / run / "submission.csv").exists()
    sharded.engine("rm", name)
    done = sharded.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumes from step-" in done.stdout + done.stderr
    assert (sharded.runs / run / "submission.csv").read_bytes() == uninterrupted
