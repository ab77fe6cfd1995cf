"""Faults that a real API server refuses and a schema does not find. Each check yields a line for every fault."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from manifests import Object, job_specs, name_of, pods

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
INTERVALS = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")
Objects = Iterable[Object]


def restart_policy(objects: Objects) -> Iterator[str]:
    """podFailurePolicy and backoffLimitPerIndex both need pods that the kubelet does not restart."""
    for name, spec in job_specs(objects):
        policy = spec["template"]["spec"].get("restartPolicy")
        known = {"Never"} if {"podFailurePolicy", "backoffLimitPerIndex"} & spec.keys() else {"Never", "OnFailure"}
        if policy not in known:
            yield f"{name}: restartPolicy {policy}"


def indexed(objects: Objects) -> Iterator[str]:
    """backoffLimitPerIndex and FailIndex need indexes."""
    for name, spec in job_specs(objects):
        actions = {rule["action"] for rule in spec.get("podFailurePolicy", {}).get("rules", [])}
        if "backoffLimitPerIndex" in spec and spec.get("completionMode") != "Indexed":
            yield f"{name}: backoffLimitPerIndex without completionMode Indexed"
        if "FailIndex" in actions and "backoffLimitPerIndex" not in spec:
            yield f"{name}: FailIndex without backoffLimitPerIndex"


def extended_resources(objects: Objects) -> Iterator[str]:
    """Devices cannot be shared: the request, where there is one, equals the limit."""
    for pod in pods(objects):
        for container in pod.containers:
            resources = container.get("resources", {})
            limits = resources.get("limits", {})
            for device, count in resources.get("requests", {}).items():
                if "/" in device and limits.get(device) != count:
                    yield f"{pod.name}: {container['name']} requests {device} {count}, limit {limits.get(device)}"


def volumes(objects: Objects) -> Iterator[str]:
    """Every mount names a volume of its pod."""
    for pod in pods(objects):
        known = {volume["name"] for volume in pod.spec.get("volumes", [])}
        for container in pod.containers:
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in known:
                    yield f"{pod.name}: {container['name']} mounts {mount['name']}"


def policy_containers(objects: Objects) -> Iterator[str]:
    """A podFailurePolicy names containers of its pod."""
    for name, spec in job_specs(objects):
        pod = spec["template"]["spec"]
        known = {container["name"] for container in [*pod.get("initContainers", []), *pod["containers"]]}
        for rule in spec.get("podFailurePolicy", {}).get("rules", []):
            container = rule.get("onExitCodes", {}).get("containerName")
            if container is not None and container not in known:
                yield f"{name}: podFailurePolicy names container {container}"


def ports(objects: Objects) -> Iterator[str]:
    """Ports are 1 to 65535."""
    for item in objects:
        numbers = [value for key, value in _walk(item) if key in {"port", "targetPort", "containerPort", "nodePort"}]
        yield from (f"{name_of(item)}: port {n}" for n in numbers if isinstance(n, int) and not 0 < n < 65536)


def names(objects: Objects) -> Iterator[str]:
    """Names of objects (which become host names and labels), containers, volumes and ports are DNS labels."""
    for item in objects:
        found = [value for key, value in _walk(item) if key in {"name", "subdomain"} and isinstance(value, str)]
        # Environment variables and rules of a JobSet need not be DNS labels.
        other = {entry["name"] for pod in pods([item]) for c in pod.containers for entry in c.get("env", [])}
        other |= {rule["name"] for rule in item.get("spec", {}).get("failurePolicy", {}).get("rules", [])}
        yield from (f"{name_of(item)}: name {n!r}" for n in found if n not in other and not LABEL.fullmatch(n))


def quantities(objects: Objects) -> Iterator[str]:
    """Quantities are numbers with a unit of Kubernetes; Gb is none."""
    for item in objects:
        for key, value in _walk(item):
            amounts = value.values() if key in {"requests", "limits"} and isinstance(value, dict) else []
            for amount in [value] if key == "sizeLimit" else amounts:
                if not QUANTITY.fullmatch(str(amount)):
                    yield f"{name_of(item)}: {key} {amount}"


def indexes(objects: Objects) -> Iterator[str]:
    """succeededIndexes are ascending intervals, such as 0,2-4, below completions."""
    for name, spec in job_specs(objects):
        for rule in spec.get("successPolicy", {}).get("rules", []):
            text = rule.get("succeededIndexes")
            numbers = [int(n) for n in re.findall("[0-9]+", text or "")]
            ascending = numbers == sorted(set(numbers)) and all(n < spec["completions"] for n in numbers)
            if text is not None and not (INTERVALS.fullmatch(text) and ascending):
                yield f"{name}: succeededIndexes {text!r}"


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key of a document with its value, at any depth."""
    yield key, value
    if isinstance(value, dict):
        for inner, child in value.items():
            yield from _walk(child, inner)
    elif isinstance(value, list):
        for child in value:
            yield from _walk(child)


CHECKS: tuple[Callable[[Objects], Iterator[str]], ...] = (
    restart_policy,
    indexed,
    extended_resources,
    volumes,
    policy_containers,
    ports,
    names,
    quantities,
    indexes,
)


def faults(objects: Objects) -> list[str]:
    """Return every fault of the nine kinds."""
    kept = list(objects)
    return [f"{check.__name__}: {line}" for check in CHECKS for line in check(kept)]
