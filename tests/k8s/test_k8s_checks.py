"""The nine faults that schemas miss: none is in our manifests, and each is found when it is planted there."""

from collections.abc import Callable

import pytest
from checks import CHECKS, faults
from manifests import VARIANTS, Object, find, variant


@pytest.mark.parametrize("name", ["plain", "copy", *VARIANTS])
def test_the_manifests_have_none_of_the_faults(name: str) -> None:
    assert faults(variant(name)) == []


def job(objects: list[Object]) -> Object:
    spec: Object = find(objects, "Job/folds")["spec"]
    return spec


def train(objects: list[Object]) -> Object:
    container: Object = job(objects)["template"]["spec"]["containers"][0]
    return container


def change_restart_policy(objects: list[Object]) -> None:
    job(objects)["template"]["spec"]["restartPolicy"] = "OnFailure"


def take_the_indexes(objects: list[Object]) -> None:
    del job(objects)["completionMode"]


def only_request_the_gpu(objects: list[Object]) -> None:
    del train(objects)["resources"]["limits"]["nvidia.com/gpu"]


def mount_what_is_not_there(objects: list[Object]) -> None:
    train(objects)["volumeMounts"].append({"name": "weights", "mountPath": "/weights"})


def name_an_unknown_container(objects: list[Object]) -> None:
    job(objects)["podFailurePolicy"]["rules"][1]["onExitCodes"]["containerName"] = "trainer"


def choose_a_port_too_high(objects: list[Object]) -> None:
    find(objects, "Service/workers")["spec"]["ports"][0]["port"] = 70000


def give_a_name_that_is_no_label(objects: list[Object]) -> None:
    find(objects, "Job/folds")["metadata"]["name"] = "Folds_of_best"


def misspell_a_unit(objects: list[Object]) -> None:
    train(objects)["resources"]["limits"]["memory"] = "1Gb"


def malform_the_indexes(objects: list[Object]) -> None:
    job(objects)["successPolicy"] = {"rules": [{"succeededIndexes": "0-2,"}]}


PLANTED: list[tuple[Callable[[list[Object]], None], str]] = [
    (change_restart_policy, "restart_policy: Job/folds: restartPolicy OnFailure"),
    (take_the_indexes, "indexed: Job/folds: backoffLimitPerIndex without completionMode Indexed"),
    (only_request_the_gpu, "extended_resources: Job/folds: train requests nvidia.com/gpu 1, limit None"),
    (mount_what_is_not_there, "volumes: Job/folds: train mounts weights"),
    (name_an_unknown_container, "policy_containers: Job/folds: podFailurePolicy names container trainer"),
    (choose_a_port_too_high, "ports: Service/workers: port 70000"),
    (give_a_name_that_is_no_label, "names: Job/Folds_of_best: name 'Folds_of_best'"),
    (misspell_a_unit, "quantities: Job/folds: limits 1Gb"),
    (malform_the_indexes, "indexes: Job/folds: succeededIndexes '0-2,'"),
]


def test_each_of_the_nine_checks_has_a_planted_fault() -> None:
    assert [line.partition(":")[0] for _, line in PLANTED] == [check.__name__ for check in CHECKS]


@pytest.mark.parametrize(("plant", "line"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_fault_is_found(plant: Callable[[list[Object]], None], line: str) -> None:
    objects = variant("plain")
    plant(objects)
    assert faults(objects) == [line]


@pytest.mark.parametrize("text", ["1,0", "5", "a-b", "0--1"])
def test_succeeded_indexes_are_read_as_the_server_reads_them(text: str) -> None:
    objects = variant("plain")
    job(objects)["successPolicy"] = {"rules": [{"succeededIndexes": text}]}
    assert faults(objects) == [f"indexes: Job/folds: succeededIndexes {text!r}"]
    job(objects)["successPolicy"] = {"rules": [{"succeededIndexes": "0,2-4"}]}
    assert faults(objects) == []
