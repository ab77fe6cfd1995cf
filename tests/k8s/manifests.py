"""Reads the manifests: the plain files as kubectl reads them, and the variants as kustomize builds them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
VARIANTS = ("base", "cpu", "multi-node", "jobset")
Object = dict[str, Any]


def tool(name: str) -> str:
    """Return the path of a program of the test requirements."""
    found = shutil.which(str(Path(sys.executable).parent / name)) or shutil.which(name)
    assert found is not None, f"{name} is missing; install the extras test and check"
    return found


def plain_files() -> list[Path]:
    """Return the files that ``kubectl apply -f k8s/`` reads, in its order."""
    return sorted(path for path in K8S.iterdir() if path.suffix in {".yaml", ".yml", ".json"})


def objects_of(text: str) -> list[Object]:
    """Return the objects in YAML as a server gets them: as JSON, with anchors resolved."""
    return [json.loads(json.dumps(item)) for item in yaml.load_all(text, yaml.CSafeLoader) if item is not None]


def read(path: Path) -> list[Object]:
    """Return the objects of a file."""
    return objects_of(path.read_text())


@cache
def kustomized(directory: Path) -> str:
    """Return what ``kubectl kustomize DIRECTORY`` prints."""
    done = subprocess.run([tool("kubectl"), "kustomize", directory], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def variant(name: str) -> list[Object]:
    """Return the objects of a variant as ``kubectl apply`` would.

    Args:
        name: A directory for ``kubectl apply -k``, "plain" for ``kubectl apply -f k8s/``, or "copy" for these and
            the pod for copying files.
    """
    if name in VARIANTS:
        return objects_of(kustomized(K8S / name))
    plain = [item for path in plain_files() for item in read(path)]
    return [*plain, *read(K8S / "copy" / "copy.yaml")] if name == "copy" else plain


def name_of(item: Object) -> str:
    """Return ``Kind/name``."""
    return f"{item['kind']}/{item['metadata']['name']}"


def find(objects: Iterable[Object], name: str) -> Object:
    """Return the object called ``Kind/name``."""
    (found,) = [item for item in objects if name_of(item) == name]
    return found


@dataclass(frozen=True)
class Pod:
    """A pod that an object creates."""

    owner: Object
    template: Object

    @property
    def name(self) -> str:
        return name_of(self.owner)

    @property
    def spec(self) -> Object:
        spec: Object = self.template["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"].get("labels", {}))

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def job_specs(objects: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    """Yield name and spec of every Job, those inside JobSets included."""
    for item in objects:
        if item["kind"] == "Job":
            yield name_of(item), item["spec"]
        elif item["kind"] == "JobSet":
            for job in item["spec"]["replicatedJobs"]:
                yield f"{name_of(item)}/{job['name']}", job["template"]["spec"]


def pods(objects: Iterable[Object]) -> Iterator[Pod]:
    """Yield every pod that the objects create."""
    for item in objects:
        if item["kind"] == "Pod":
            yield Pod(item, item)
        elif item["kind"] == "Deployment":
            yield Pod(item, item["spec"]["template"])
        else:
            for _, spec in job_specs([item]):
                yield Pod(item, spec["template"])


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Return whether a label selector matches."""
    matches = selector.get("matchLabels", {}).items() <= labels.items()
    return matches and all(
        e["operator"] == "In" and labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])
    )
