"""The compose files: valid, hardened, and every setting explained."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

DOCKER = Path(__file__).resolve().parents[2] / "docker"


class Loader(yaml.SafeLoader):
    """Knows compose's own !reset, which takes a value away."""


Loader.add_constructor("!reset", lambda _loader, _node: None)


def load(name: str) -> Any:
    return yaml.load((DOCKER / name).read_text(), Loader)


@pytest.fixture(scope="module")
def compose() -> Any:
    return load("compose.yaml")


@pytest.fixture(params=["train", "shard", "tensorboard"])
def service(compose: Any, request: pytest.FixtureRequest) -> Any:
    assert set(compose["services"]) == {"train", "shard", "tensorboard"}
    return compose["services"][request.param]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cpu.yaml"])
def test_it_matches_the_compose_schema(name: str) -> None:
    vendored = pytest.importorskip("check_jsonschema", reason="check-jsonschema carries the compose specification")
    schema = Path(vendored.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(load(name), json.loads(schema.read_text()))


def test_every_service_is_hardened(service: Any) -> None:
    assert service["image"] == "${PNEUMO_IMAGE:-pneumo:0.2.0}"
    assert service["user"] == "${PNEUMO_UID:-10001}:${PNEUMO_GID:-10001}"
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    # SIGTERM reaches process 1 at any time, also before Python has set its handlers.
    assert service["init"] is True
    assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & set(service)


def test_only_tensorboard_listens_and_only_to_this_machine(compose: Any) -> None:
    ports = {name: service.get("ports") for name, service in compose["services"].items()}
    assert ports == {"train": None, "shard": None, "tensorboard": ["127.0.0.1:${PNEUMO_PORT:-6006}:6006"]}


def test_training_gets_the_gpus_and_the_time_to_save(compose: Any) -> None:
    train = compose["services"]["train"]
    (device,) = train["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "${PNEUMO_GPUS:-all}", "capabilities": ["gpu"]}
    assert train["stop_grace_period"] == "2m"
    assert train["command"][:4] == ["python", "job/launch.py", "--processes", "${PNEUMO_RANKS:-auto}"]
    # A dataset is read, never written, by a training; TensorBoard only reads.
    assert [volume.get("read_only", False) for volume in train["volumes"]] == [True, False]
    assert [volume["read_only"] for volume in compose["services"]["tensorboard"]["volumes"]] == [True]


def test_the_cpu_file_takes_the_gpus_away_and_nothing_else() -> None:
    assert load("compose.cpu.yaml") == {"services": {"train": {"deploy": None}}}


def test_every_setting_is_explained_with_its_default() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    header, _, body = text.partition("\nname: pneumo\n")
    used = set(re.findall(r"\$\{(\w+):-([^}]+)\}", body))
    explained = {(name, default) for name, default in re.findall(r"^#   (PNEUMO_\w+) .* (\S+)$", header, re.MULTILINE)}
    assert used == explained
