"""Runs one container of a pod as a process, without a container engine: with its own root, mounts, user and PIDs.

The image consists of this machine's system directories and Python, the checkout as /opt/pneumo and the running
environment as /opt/venv, all read-only. Real are: command, arguments and environment with $(VAR) expanded, volumes at
their mountPath (read-only where the manifest says so), the memory-backed /dev/shm with its size, user and group, no
capabilities, no_new_privs, the process as PID 1 with its treatment of signals, the memory limit (where this machine
permits a cgroup), the host name. Missing are: seccomp, the CPU quota (the container is bound to one core instead), a
network namespace for each pod, and a memory-backed volume shared by two containers of a pod.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks import QUANTITY

ROOT = Path(__file__).resolve().parents[2]
WORKDIR = "/opt/pneumo"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/sys")
MEMORY_CGROUP = Path("/sys/fs/cgroup/memory")
UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
KNOWN = {
    *("name", "image", "imagePullPolicy", "command", "args", "env", "envFrom", "resources", "volumeMounts", "ports"),
    "securityContext",
}
TOKEN = re.compile(r"\$\$|\$\(([^)]*)\)")


def unavailable() -> str:
    """Return why containers cannot be run here; empty when they can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    probe = ["unshare", "--mount", "--pid", "--uts", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "util-linux (unshare) is not installed"
    return "" if done.returncode == 0 else f"this machine permits no mount namespaces: {done.stderr.strip()}"


def amount(text: object) -> float:
    """Return the number of a Kubernetes quantity: 2Gi, 500m, 8."""
    found = QUANTITY.fullmatch(str(text))
    assert found is not None, text
    unit = re.sub(r"[0-9.]", "", found[0])
    return float(found[0].removesuffix(unit)) * UNITS[unit]


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Expand $(VAR) as the kubelet does: $$ is one dollar, and an unknown variable stays as it is."""
    return TOKEN.sub(lambda m: "$" if m[0] == "$$" else environ.get(m[1], m[0]), text)


@dataclass(frozen=True)
class Mount:
    """A directory of this machine, or memory, mounted at a path of the container."""

    path: str
    source: Path | None
    """None = memory."""
    size: int = 0
    """Bytes of memory."""
    read_only: bool = False


@dataclass(kw_only=True)
class Container:
    """One container; ``start`` it, then ``poll`` it."""

    spec: dict[str, Any]
    environ: dict[str, str]
    mounts: Sequence[Mount]
    hostname: str
    hosts: Mapping[str, str]
    """Host names that the pod can resolve, with their addresses."""
    user: int
    group: int
    scratch: Path
    log: Path
    core: int
    process: subprocess.Popen[bytes] = field(init=False)
    cgroup: Path | None = None

    def start(self) -> None:
        """Start it."""
        assert not self.spec.keys() - KNOWN, f"not emulated: {self.spec.keys() - KNOWN}"
        self.cgroup = memory_cgroup(int(amount(self.spec["resources"]["limits"]["memory"])))
        (self.scratch / "hosts").write_text("".join(f"{ip} {name}\n" for name, ip in self.hosts.items()))
        (self.scratch / "passwd").write_text(f"pneumo:x:{self.user}:{self.group}::/tmp/home:/bin/sh\n")
        command = [
            "setpriv",
            "--pdeathsig=KILL",
            "taskset",
            "-c",
            str(self.core),
            "unshare",
            "--mount",
            "--pid",
            "--uts",
        ]
        # Not unshare's --fork, which exits with 1 when its child is killed. The first child is PID 1 of the namespace.
        script = f"(\n{self._script()}\n) & wait $!"
        # The kubelet holds the log file open; the container itself cannot open it.
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "sh", "-ec", script], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )

    def _script(self) -> str:
        """Return the shell script that sets up the container's root and becomes its first process."""
        root = self.scratch / "root"
        lines = [f"mkdir -p {root}", f"mount -t tmpfs -o mode=755 none {root}", f"hostname {self.hostname}"]
        if self.cgroup is not None:
            lines.insert(0, f"echo 0 > {self.cgroup}/cgroup.procs")
        image = {place: place for place in SYSTEM if Path(place).exists()}
        image |= {sys.base_prefix: sys.base_prefix, str(ROOT): WORKDIR, sys.prefix: "/opt/venv"}
        for source, place in image.items():
            lines += bind(source, f"{root}{place}", read_only=True)
        for name in ("hosts", "passwd"):
            lines += [f"mount --bind {self.scratch / name} {root}/etc/{name}"]
        lines += [f"mkdir {root}/proc {root}/dev", f"mount -t proc none {root}/proc", f"mount --rbind /dev {root}/dev"]
        for mount in self.mounts:
            place = f"{root}{mount.path}"
            if mount.source is None:
                lines += [f"mkdir -p {place}", f"mount -t tmpfs -o mode=1777,size={mount.size} none {place}"]
            else:
                lines += bind(str(mount.source), place, read_only=mount.read_only)
        lines.append(f"mount -o remount,ro {root}")
        command = [
            "setpriv",
            "--pdeathsig=KILL",
            f"--reuid={self.user}",
            f"--regid={self.group}",
            f"--groups={self.group}",
        ]
        command += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "env", "-i", f"--chdir={WORKDIR}"]
        command += [f"{name}={value}" for name, value in self._environ().items()]
        command += [expand(w, self.environ) for w in (*self.spec["command"], *self.spec.get("args", []))]
        return "\n".join([*lines, f"exec chroot {root} {shlex.join(command)}"])

    def _environ(self) -> dict[str, str]:
        """Return the pod's variables over those of the image."""
        image = {"PATH": "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp/home", "PYTHONPATH": WORKDIR}
        image |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        return image | {"HOSTNAME": self.hostname} | self.environ

    def poll(self) -> int | None:
        """Return the exit code as Kubernetes counts it (128 + n for signal n), or None while it runs."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its first process."""
        (first,) = children(self.process.pid) or (None,)
        if first is not None:
            os.kill(first, number)

    def clean(self) -> None:
        """Remove its cgroup."""
        if self.cgroup is not None:
            self.cgroup.rmdir()


def bind(source: str, place: str, *, read_only: bool) -> list[str]:
    """Return the commands that bind-mount a directory at another path."""
    lines = [f"mkdir -p {place}", f"mount --bind {source} {place}"]
    return [*lines, f"mount -o remount,bind,ro {place}"] if read_only else lines


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def memory_cgroup(limit: int) -> Path | None:
    """Make a cgroup with a memory limit; None where this machine does not permit it."""
    group = MEMORY_CGROUP / f"pneumo-{uuid.uuid4().hex[:12]}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit))
    except OSError:
        return None
    return group
