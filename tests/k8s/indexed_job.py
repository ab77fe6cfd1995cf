"""The emulated Job controller: which pods a Job needs, and what it does when a pod ends (see cluster.py)."""

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from container import Container
from manifests import Object

if TYPE_CHECKING:
    from cluster import Cluster

POD_KNOWN = {
    *(
        "restartPolicy",
        "subdomain",
        "terminationGracePeriodSeconds",
        "automountServiceAccountToken",
        "enableServiceLinks",
    ),
    *("securityContext", "affinity", "tolerations", "initContainers", "containers", "volumes"),
}
JOB_KNOWN = {
    *("completionMode", "completions", "parallelism", "backoffLimit", "backoffLimitPerIndex", "podReplacementPolicy"),
    *("podFailurePolicy", "activeDeadlineSeconds", "template"),
}


@dataclass
class Pod:
    """A pod that is running, or has ended."""

    job: "Job"
    index: int
    log_file: Path
    queue: list[Container] = field(default_factory=list)
    """Containers that have not started, init containers first."""
    current: Container | None = None
    disrupted: bool = False
    kill_at: float = float("inf")
    codes: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.job.name}-{self.index}"

    @property
    def log(self) -> str:
        """The output of its containers."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def step(self) -> bool:
        """Start and reap its containers; return True when the pod has ended."""
        if self.current is not None:
            if time.monotonic() > self.kill_at:
                self.current.send(signal.SIGKILL)
            code = self.current.poll()
            if code is None:
                return False
            self.current.clean()
            self.current = None
            self.codes.append(code)
            if code != 0:
                return True
        if not self.queue or self.kill_at != float("inf"):
            return True
        self.current = self.queue.pop(0)
        self.current.start()
        return False

    def delete(self, *, disrupted: bool = False) -> None:
        """Send SIGTERM, and SIGKILL after the grace period; ``disrupted`` as by an eviction."""
        self.disrupted |= disrupted
        if self.kill_at == float("inf"):
            self.kill_at = time.monotonic() + self.job.pod_spec["terminationGracePeriodSeconds"]
            self.kill(signal.SIGTERM)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to its running container."""
        if self.current is not None:
            self.current.send(number)


@dataclass
class Job:
    """A Job and its status."""

    cluster: "Cluster"
    manifest: Object
    succeeded: set[int] = field(default_factory=set)
    failed: dict[int, int] = field(default_factory=dict)
    """Indexes that failed for good, with the exit code."""
    counted: dict[int, int] = field(default_factory=dict)
    """Counted failures, by index."""
    attempts: dict[int, int] = field(default_factory=dict)
    not_before: dict[int, float] = field(default_factory=dict)
    condition: str = ""
    history: list[tuple[int, int, str]] = field(default_factory=list)
    """Index, exit code and action of every pod that failed."""

    def __post_init__(self) -> None:
        assert not self.spec.keys() - JOB_KNOWN, f"not emulated: {self.spec.keys() - JOB_KNOWN}"
        assert not self.pod_spec.keys() - POD_KNOWN, f"not emulated: {self.pod_spec.keys() - POD_KNOWN}"
        assert self.pod_spec["restartPolicy"] == "Never"

    @property
    def name(self) -> str:
        name: str = self.manifest["metadata"]["name"]
        return name

    @property
    def spec(self) -> Object:
        spec: Object = self.manifest["spec"]
        return spec

    @property
    def pod_spec(self) -> Object:
        spec: Object = self.spec["template"]["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        return {"batch.kubernetes.io/job-name": self.name, **self.spec["template"]["metadata"]["labels"]}

    def indexes_without_pod(self) -> list[int]:
        """Return the indexes that need a pod, whether or not its delay has passed."""
        if self.condition:
            return []
        unfinished = [
            i for i in range(self.spec.get("completions", 1)) if i not in self.succeeded and i not in self.failed
        ]
        running = {pod.index for pod in self.cluster.running if pod.job is self}
        free = self.spec.get("parallelism", 1) - len(running)
        return [i for i in unfinished if i not in running][: max(0, free)]

    def ended(self, pod: Pod) -> None:
        """Update the status after a pod has ended."""
        code = pod.codes[-1] if pod.codes else 143
        if code == 0 and not pod.queue:
            self.succeeded.add(pod.index)
        else:
            action = self._action(code, pod)
            self.history.append((pod.index, code, action))
            self._failed(pod.index, code, action)
        if not self.condition and len(self.succeeded) + len(self.failed) == self.spec.get("completions", 1):
            self.condition = "Failed" if self.failed else "Complete"

    def _action(self, code: int, pod: Pod) -> str:
        for rule in self.spec.get("podFailurePolicy", {}).get("rules", []):
            if "onPodConditions" in rule:
                assert [c["type"] for c in rule["onPodConditions"]] == ["DisruptionTarget"]
                met = pod.disrupted
            else:
                assert rule["onExitCodes"].keys() == {"operator", "values"}
                assert rule["onExitCodes"]["operator"] == "In"
                met = code in rule["onExitCodes"]["values"]
            if met:
                return str(rule["action"])
        return "Count"

    def _failed(self, index: int, code: int, action: str) -> None:
        self.not_before[index] = time.monotonic() + self.cluster.delay * 2 ** min(self.attempts[index], 5)
        if action == "Count":
            self.counted[index] = self.counted.get(index, 0) + 1
            limit = self.spec.get("backoffLimitPerIndex", self.spec.get("backoffLimit", 6))
            if self.counted[index] > limit:
                self.failed[index] = code
        elif action == "FailIndex":
            self.failed[index] = code
        elif action == "FailJob":
            self.failed[index] = code
            self.condition = "Failed"
            for pod in self.cluster.running:
                if pod.job is self:
                    pod.delete()
