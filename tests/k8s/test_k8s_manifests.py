"""The manifests without a cluster: schemas, order, references, the restricted profile, what the comments claim."""

import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
from manifests import (
    K8S,
    VARIANTS,
    Object,
    Pod,
    find,
    job_specs,
    name_of,
    plain_files,
    pods,
    read,
    selects,
    variant,
)
from manifests import tool as program

from pneumo.training.recipes import RECIPES

EVERY = ["plain", "copy", *VARIANTS]
SETTING = re.compile(r"(?<!\$)\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
SHELL_SETTING = re.compile(r"\b[A-Z][A-Z_]{2,}\b")
BY_KUBERNETES = {"JOB_COMPLETION_INDEX"}


def test_yaml_passes_yamllint() -> None:
    config = Path(__file__).parent / "yamllint.yaml"
    done = subprocess.run(
        [program("yamllint"), "--strict", "-c", config, K8S], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_plain_file_holds_objects_that_a_server_knows() -> None:
    assert [path.name[:2] for path in plain_files()] == ["00", "10", "20", "30", "40", "50", "60", "70", "80"]
    for path in plain_files():
        for item in read(path):
            kubernetes_validate.validate(item, "1.37", strict=True)


def test_kubectl_reads_the_directory_in_this_order() -> None:
    """Links and all; `label --local` reads the files as `apply` does, and asks no server."""
    command = [program("kubectl"), "label", "--local", "-f", K8S, "some=label", "-o", "name"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [tuple(line.split("/")) for line in done.stdout.splitlines()]
    objects = [item for path in plain_files() for item in read(path)]
    assert [(kind.partition(".")[0], name) for kind, name in found] == [
        (item["kind"].lower(), item["metadata"]["name"]) for item in objects
    ]


@pytest.mark.parametrize("name", EVERY)
def test_objects_match_the_schema_of_a_current_kubernetes(name: str) -> None:
    checked = [item for item in variant(name) if item["kind"] != "JobSet"]
    assert len(checked) >= 10
    for item in checked:
        kubernetes_validate.validate(item, "1.37", strict=True)


def test_a_misspelt_field_is_found() -> None:
    item = find(variant("plain"), "Job/folds")
    item["spec"]["backOffLimitPerIndex"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(item, "1.37", strict=True)


def test_base_is_what_plain_apply_applies() -> None:
    def by_name(objects: list[Object]) -> dict[str, Object]:
        return {name_of(item): item for item in objects}

    assert by_name(variant("base")) == by_name(variant("plain"))


@pytest.mark.parametrize("name", EVERY)
def test_images_have_one_name_and_a_version(name: str) -> None:
    images = {container["image"] for pod in pods(variant(name)) for container in pod.containers}
    assert images == {"pneumo:0.2.0"}


def references(item: Object) -> set[str]:
    """Return Kind/name of everything that must exist before an object."""
    found = {f"Namespace/{item['metadata']['namespace']}"} if "namespace" in item["metadata"] else set()
    for pod in pods([item]):
        if "subdomain" in pod.spec:
            found.add(f"Service/{pod.spec['subdomain']}")
        for volume in pod.spec["volumes"]:
            if "persistentVolumeClaim" in volume:
                found.add(f"PersistentVolumeClaim/{volume['persistentVolumeClaim']['claimName']}")
        for container in pod.containers:
            found |= {f"ConfigMap/{source['configMapRef']['name']}" for source in container.get("envFrom", [])}
    return found


def test_files_apply_in_the_order_of_their_names() -> None:
    known: set[str] = set()
    for path in plain_files():
        items = read(path)
        known |= {name_of(item) for item in items}
        for item in items:
            assert references(item) <= known, path.name
    assert {"Namespace/pneumo", "ConfigMap/pneumo", "Service/workers", "PersistentVolumeClaim/input"} <= known


@pytest.mark.parametrize("name", EVERY)
def test_referenced_objects_exist(name: str) -> None:
    objects = variant(name)
    assert {r for item in objects for r in references(item)} <= {name_of(item) for item in objects}
    (namespace,) = (item["metadata"]["name"] for item in objects if item["kind"] == "Namespace")
    assert {item["metadata"].get("namespace") for item in objects if item["kind"] != "Namespace"} == {namespace}


def test_the_trial_touches_nothing_of_an_experiment() -> None:
    assert {name for name in EVERY if "Namespace/pneumo" not in map(name_of, variant(name))} == {"cpu"}
    assert "Namespace/pneumo-cpu" in map(name_of, variant("cpu"))


@pytest.mark.parametrize("name", ["base", "cpu", "multi-node"])
def test_a_variant_is_applied_in_the_order_of_the_plain_files(name: str) -> None:
    """Pods are scheduled in the order of their Jobs, which kustomize would otherwise sort by name."""
    plain = [name_of(item).replace("Namespace/pneumo", "Namespace") for item in variant("plain")]
    found = [re.sub("Namespace/.*", "Namespace", name_of(item)) for item in variant(name)]
    assert [item for item in found if item != "Job/input"] == plain


@pytest.mark.parametrize("name", VARIANTS)
def test_devices_are_counted_in_strings(name: str) -> None:
    """The server stores them as strings: a number would differ from it at every further ``kubectl apply``."""
    counts = [
        count
        for pod in pods(variant(name))
        for container in pod.containers
        for resources in container["resources"].values()
        for resource, count in resources.items()
        if "/" in resource
    ]
    assert all(isinstance(count, str) for count in counts)
    assert bool(counts) == (name != "cpu")


@pytest.mark.parametrize("name", EVERY)
def test_settings_that_pods_use_are_in_the_config(name: str) -> None:
    objects = variant(name)
    settings = set(find(objects, "ConfigMap/pneumo")["data"])
    used: set[str] = set()
    for pod in pods(objects):
        for container in pod.containers:
            words = [*container.get("command", []), *container.get("args", [])]
            own = {entry["name"] for entry in container.get("env", [])}
            in_shell = words[2:3] if words[:2] == ["sh", "-c"] else []
            here = {n for word in words for n in SETTING.findall(word)}
            here |= {n for word in in_shell for n in SHELL_SETTING.findall(word)}
            assert here <= settings | own | BY_KUBERNETES, (pod.name, container["name"])
            used |= here
    # These two are numbers of pods, which the Jobs hold.
    assert settings - used <= {"NUM_FOLDS", "SHARD_TASKS"}


@pytest.mark.parametrize("name", ["plain", "cpu", "multi-node"])
def test_numbers_of_pods_agree_with_the_settings(name: str) -> None:
    objects = variant(name)
    settings = find(objects, "ConfigMap/pneumo")["data"]
    shard, folds = (find(objects, f"Job/{job}")["spec"] for job in ("shard", "folds"))
    nodes = int(settings.get("NODES", "1"))
    assert shard["completions"] == shard["parallelism"] == int(settings["SHARD_TASKS"])
    assert folds["completions"] == int(settings["NUM_FOLDS"]) * nodes
    assert folds["parallelism"] % nodes == 0
    ranks_of_fold = nodes * int(settings["PROCESSES"])
    assert ranks_of_fold <= RECIPES[settings["RECIPE"]]().micro_batches
    gpus = folds["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
    assert gpus == (None if name == "cpu" else settings["PROCESSES"])


@pytest.mark.parametrize("name", EVERY)
def test_the_expected_number_of_ranks_is_given(name: str) -> None:
    commands = [
        " ".join([*container.get("command", []), *container.get("args", [])])
        for pod in pods(variant(name))
        for container in pod.containers
    ]
    started = [text for text in commands if re.search(r"job/(train|ensemble)\.py", text)]
    assert len(started) == 2
    assert all("--expect-world" in text for text in started)


def test_the_trial_requests_no_gpu() -> None:
    for pod in pods(variant("cpu")):
        assert all("nvidia.com/gpu" not in c["resources"]["limits"] for c in pod.containers)
    for item in variant("cpu"):
        if item["kind"] == "PersistentVolumeClaim":
            assert item["spec"]["accessModes"] == ["ReadWriteOnce"]


def restricted(pod: Pod) -> list[str]:
    """Return the rules of the Pod Security Standard "restricted", and of our own beyond it, that a pod breaks."""
    spec, security = pod.spec, pod.spec["securityContext"]
    rules = {
        "user": security.get("runAsNonRoot") is True and security.get("runAsUser") == 10001,
        "group": security.get("fsGroup") == 10001,
        "seccomp": security.get("seccompProfile") == {"type": "RuntimeDefault"},
        "token": spec.get("automountServiceAccountToken") is False,
        "links": spec.get("enableServiceLinks") is False,
        "host": not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(),
        "volumes": all(v.keys() & {"persistentVolumeClaim", "emptyDir"} for v in spec["volumes"]),
    }
    for container in pod.containers:
        own, limits = container["securityContext"], container["resources"]["limits"]
        rules |= {
            f"{container['name']} escalation": own.get("allowPrivilegeEscalation") is False,
            f"{container['name']} root": own.get("readOnlyRootFilesystem") is True,
            f"{container['name']} capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            f"{container['name']} privileges": not {"privileged", "runAsUser", "seccompProfile"} & own.keys(),
            f"{container['name']} host ports": all("hostPort" not in port for port in container.get("ports", [])),
            f"{container['name']} limits": {"cpu", "memory"} <= limits.keys(),
            f"{container['name']} requests": {"cpu", "memory"} <= container["resources"]["requests"].keys(),
        }
    return [rule for rule, kept in rules.items() if not kept]


@pytest.mark.parametrize("name", EVERY)
def test_pods_keep_to_the_restricted_profile(name: str) -> None:
    for pod in pods(variant(name)):
        assert restricted(pod) == [], pod.name
    namespace = find(variant(name), "Namespace/pneumo-cpu" if name == "cpu" else "Namespace/pneumo")
    labels = namespace["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert re.fullmatch(r"v1\.[0-9]+", labels[f"pod-security.kubernetes.io/{mode}-version"])


def test_a_pod_beyond_the_profile_is_found() -> None:
    for path, value, rule in [
        (("securityContext", "runAsNonRoot"), False, "user"),
        (("automountServiceAccountToken",), True, "token"),
        (("containers", 0, "securityContext", "readOnlyRootFilesystem"), False, "train root"),
        (("initContainers", 0, "securityContext", "capabilities"), {"drop": []}, "dataset capabilities"),
        (("containers", 0, "resources", "limits"), {"cpu": "8"}, "train limits"),
    ]:
        (pod,) = pods([find(variant("plain"), "Job/folds")])
        place = pod.spec
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert restricted(pod) == [rule]


@pytest.mark.parametrize("name", EVERY)
def test_memory_backed_shm_and_a_scratch_directory(name: str) -> None:
    for pod in pods(variant(name)):
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        mounts = {m["mountPath"]: volumes[m["name"]] for m in pod.spec["containers"][0]["volumeMounts"]}
        assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory", pod.name
        assert mounts["/dev/shm"]["emptyDir"]["sizeLimit"]
        assert mounts["/tmp"]["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("name", VARIANTS)
def test_jobs_act_on_the_exit_codes(name: str) -> None:
    jobs = dict(job_specs(variant(name)))
    for job, spec in jobs.items():
        if job == "Job/input":
            continue
        rules = spec["podFailurePolicy"]["rules"]
        assert rules[0]["action"] == "Ignore", "a disruption comes first, whatever the code"
        assert rules[0]["onPodConditions"][0]["type"] == "DisruptionTarget"
        by_code = {code: r["action"] for r in rules[1:] for code in r["onExitCodes"]["values"]}
        fails = "FailIndex" if job == "Job/folds" else "FailJob"
        assert by_code == {3: "Ignore", 2: fails}
        assert spec["podReplacementPolicy"] == "Failed"
        waits = spec["template"]["spec"]["terminationGracePeriodSeconds"]
        assert waits == (10 if job == "Job/shard" else 120)


@pytest.mark.parametrize("name", VARIANTS)
def test_jobs_that_depend_on_each_other_do_not_run_together(name: str) -> None:
    every = {pod.name.partition("/")[2]: pod for pod in pods(variant(name))}

    def repelled_by(pod: Pod) -> set[str]:
        terms = pod.spec.get("affinity", {}).get("podAntiAffinity", {})
        required = terms.get("requiredDuringSchedulingIgnoredDuringExecution", [])
        assert all(term["topologyKey"] == "kubernetes.io/os" for term in required)
        return {n for n, other in every.items() for t in required if selects(t["labelSelector"], other.labels)}

    assert repelled_by(every["folds"]) == {"shard"}
    assert repelled_by(every["ensemble"]) == {"shard", "folds"}
    assert repelled_by(every["shard"]) == repelled_by(every["tensorboard"]) == set()


@pytest.mark.parametrize("name", VARIANTS)
def test_network_policies_allow_connections_between_workers_only(name: str) -> None:
    objects = variant(name)
    policies = [item["spec"] for item in objects if item["kind"] == "NetworkPolicy"]
    assert all(policy["policyTypes"] == ["Ingress"] for policy in policies)
    every = list(pods(objects))
    for target in every:
        applying = [p for p in policies if selects(p["podSelector"], target.labels)]
        assert applying, f"anybody reaches {target.name}"
        rules = [rule for policy in applying for rule in policy.get("ingress", [])]
        reached_by = {
            source.name
            for source in every
            for rule in rules
            for peer in rule["from"]
            if peer.keys() == {"podSelector"} and selects(peer["podSelector"], source.labels)
        }
        assert reached_by == ({target.name} if target.labels["app.kubernetes.io/component"] == "folds" else set())


@pytest.mark.parametrize("name", ["plain", "cpu", "multi-node"])
def test_the_service_gives_workers_their_names(name: str) -> None:
    objects = variant(name)
    service = find(objects, "Service/workers")["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True
    named = [pod for pod in pods(objects) if selects({"matchLabels": service["selector"]}, pod.labels)]
    assert [pod.name for pod in named] == ["Job/folds"]
    assert named[0].spec["subdomain"] == "workers"
    assert named[0].spec["containers"][0]["ports"][0]["containerPort"] == service["ports"][0]["targetPort"]


def test_the_deployment_selects_its_pods() -> None:
    deployment = find(variant("plain"), "Deployment/tensorboard")["spec"]
    assert selects(deployment["selector"], deployment["template"]["metadata"]["labels"])


def test_a_jobset_holds_the_folds_pods() -> None:
    objects = variant("jobset")
    assert not [item for item in objects if name_of(item) in {"Job/folds", "Service/workers"}]
    item = find(objects, "JobSet/folds")
    settings = find(objects, "ConfigMap/pneumo")["data"]
    assert item["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert set(item["spec"]) == {"network", "failurePolicy", "replicatedJobs"}
    (fold,) = item["spec"]["replicatedJobs"]
    assert fold["replicas"] == int(settings["NUM_FOLDS"])
    spec = fold["template"]["spec"]
    # There is no schema of a JobSet, but there is one of the Job inside.
    kubernetes_validate.validate(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "fold"}, "spec": spec}, "1.37", strict=True
    )
    assert spec["completions"] == spec["parallelism"] == int(settings["NODES"])
    assert spec["backoffLimit"] == 0, "a crash has to reach JobSet"
    assert item["spec"]["failurePolicy"]["rules"][0]["onJobFailureReasons"] == ["PodFailurePolicy"]
    container = spec["template"]["spec"]["containers"][0]
    assert '--master "folds-fold-$FOLD-0.folds:29500"' in container["command"][2]
    source = find(variant("multi-node"), "Job/folds")["spec"]["template"]["spec"]["containers"][0]
    assert {k: v for k, v in container.items() if k not in {"command", "env"}} == {
        k: v for k, v in source.items() if k not in {"command", "env"}
    }
