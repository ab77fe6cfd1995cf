"""An EMULATION of what our Jobs rely on in Kubernetes: the Job controller, a scheduler, the kubelet of one node.

There is no API server and no container engine. Containers are processes (see container.py). Emulated are: Indexed and
plain Jobs, completions, parallelism, backoffLimit, backoffLimitPerIndex, podFailurePolicy on exit codes and on
disruptions, the growing delay before a replacement (much shorter), required podAntiAffinity in both directions, init
containers, deletion with its grace period, ConfigMaps, claims, emptyDirs, names of a headless Service. Any other field
of a manifest is an error and never ignored, except those without effect here: activeDeadlineSeconds (two weeks),
tolerations, and the topology key, since there is one node. Pods are scheduled in random order.
"""

import os
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from container import Container, Mount, amount
from indexed_job import Job, Pod
from manifests import Object, find, selects

INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


class Cluster:
    """One node with as many cores as this process may use; ``apply`` objects, then ``run``."""

    def __init__(self, objects: Iterable[Object], directory: Path, *, seed: int = 0, delay: float = 0.2) -> None:
        self.objects = list(objects)
        self.directory = directory
        self.delay = delay
        self.random = random.Random(seed)
        self.jobs: dict[str, Job] = {}
        self.running: list[Pod] = []
        self.ended: list[Pod] = []
        self.made = 0
        self.cores = sorted(os.sched_getaffinity(0))

    def apply(self, *names: str) -> None:
        """Create Jobs from the manifests; all of them when none is named."""
        for item in self.objects:
            if item["kind"] == "Job" and item["metadata"]["name"] in (names or [item["metadata"]["name"]]):
                self.jobs[item["metadata"]["name"]] = Job(self, item)

    def run(self, until: Callable[[], bool], *, seconds: float = 300, tick: Callable[[], None] | None = None) -> None:
        """Run the cluster until a condition holds; ``tick`` is called often in between."""
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, self.describe()
            for pod in [pod for pod in self.running if pod.step()]:
                self.running.remove(pod)
                self.ended.append(pod)
                pod.job.ended(pod)
            self._schedule()
            if tick is not None:
                tick()
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill what still runs."""
        for pod in self.running:
            pod.queue.clear()
            pod.kill_at = 0
        while self.running:
            self.running = [pod for pod in self.running if not pod.step()]
            time.sleep(0.02)

    def describe(self) -> str:
        """Return the state of all Jobs, with the ends of the logs."""
        jobs = [f"{job.name}: {job.condition or 'active'} {job.succeeded} {job.history}" for job in self.jobs.values()]
        logs = [f"--- {p.name} {p.codes}\n{p.log[-2000:]}" for p in [*self.ended, *self.running][-6:]]
        return "\n".join([*jobs, *logs])

    def _schedule(self) -> None:
        waiting = [(job, index) for job in self.jobs.values() for index in job.indexes_without_pod()]
        self.random.shuffle(waiting)
        for job, index in waiting:
            if time.monotonic() >= job.not_before.get(index, 0) and not self._repelled(job):
                self.running.append(self._make(job, index))

    def _repelled(self, job: Job) -> bool:
        """Return whether anti-affinity of either side keeps a new pod from running beside those that run."""
        return any(repels(job, pod.job) or repels(pod.job, job) for pod in self.running)

    def _make(self, job: Job, index: int) -> Pod:
        job.attempts[index] = job.attempts.get(index, 0) + 1
        self.made += 1
        scratch = self.directory / "pods" / f"{self.made:03d}-{job.name}-{index}"
        used = {pod.current.core for pod in self.running if pod.current is not None}
        core = next((core for core in self.cores if core not in used), self.cores[index % len(self.cores)])
        pod = Pod(job, index, scratch / "log")
        for spec in [*job.pod_spec.get("initContainers", []), *job.pod_spec["containers"]]:
            own = scratch / spec["name"]
            own.mkdir(parents=True)
            container = Container(
                spec=spec,
                environ=self._environ(job, index, spec),
                mounts=self._mounts(job, spec, scratch),
                hostname=pod.name,
                hosts=self._hosts(job, pod.name),
                user=job.pod_spec["securityContext"]["runAsUser"],
                group=job.pod_spec["securityContext"]["fsGroup"],
                scratch=own,
                log=pod.log_file,
                core=core,
            )
            pod.queue.append(container)
        return pod

    def _environ(self, job: Job, index: int, spec: Object) -> dict[str, str]:
        environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
        for source in spec.get("envFrom", []):
            environ |= find(self.objects, f"ConfigMap/{source['configMapRef']['name']}")["data"]
        if job.spec.get("completionMode") == "Indexed":
            environ["JOB_COMPLETION_INDEX"] = str(index)
        for entry in spec.get("env", []):
            environ[entry["name"]] = (
                entry["value"] if "value" in entry else self._value(entry["valueFrom"], index, spec)
            )
        return environ

    def _value(self, source: Any, index: int, spec: Object) -> str:
        if "fieldRef" in source:
            assert source["fieldRef"]["fieldPath"] == INDEX, source
            return str(index)
        assert source["resourceFieldRef"] == {"containerName": spec["name"], "resource": "limits.cpu"}, source
        return str(int(-(-amount(spec["resources"]["limits"]["cpu"]) // 1)))

    def _mounts(self, job: Job, spec: Object, scratch: Path) -> list[Mount]:
        volumes = {volume["name"]: volume for volume in job.pod_spec["volumes"]}
        return [self._mount(mount, volumes[mount["name"]], job, scratch) for mount in spec["volumeMounts"]]

    def _mount(self, mount: Object, volume: Object, job: Job, scratch: Path) -> Mount:
        assert not mount.keys() - {"name", "mountPath", "readOnly"}, mount
        group = job.pod_spec["securityContext"]["fsGroup"]
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            find(self.objects, f"PersistentVolumeClaim/{claim}")
            source = self.volume(claim)
        else:
            assert volume.keys() == {"name", "emptyDir"}, volume
            if volume["emptyDir"].get("medium") == "Memory":
                return Mount(mount["mountPath"], None, int(amount(volume["emptyDir"]["sizeLimit"])))
            source = scratch / "volumes" / volume["name"]
        if not source.exists():
            source.mkdir(parents=True)
            os.chown(source, 0, group)
            source.chmod(0o2777 if "emptyDir" in volume else 0o2775)
        return Mount(mount["mountPath"], source, read_only=mount.get("readOnly", False))

    def volume(self, claim: str) -> Path:
        """Return the directory that serves as a claim's volume."""
        return self.directory / "volumes" / claim

    def _hosts(self, job: Job, own: str) -> dict[str, str]:
        """Return the DNS names of the Job's pods; all have this machine's address."""
        names = ["localhost", own]
        if "subdomain" in job.pod_spec:
            service = find(self.objects, f"Service/{job.pod_spec['subdomain']}")
            assert service["spec"]["selector"].items() <= job.labels.items(), "the Service selects none of the pods"
            names += [f"{job.name}-{i}.{job.pod_spec['subdomain']}" for i in range(job.spec["completions"])]
        return dict.fromkeys(names, "127.0.0.1")


def repels(job: Job, other: Job) -> bool:
    """Return whether anti-affinity keeps a Job's pods from running beside another's."""
    affinity = job.pod_spec.get("affinity", {})
    assert affinity.keys() <= {"podAntiAffinity"}
    required = affinity.get("podAntiAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
    return any(selects(term["labelSelector"], other.labels) for term in required)
