"""Identity of processes, and the exchange of heartbeats and exit statuses between ranks."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pneumo.distributed.peers import HeartbeatExchange, Peer, identify
from pneumo.distributed.world import World


def test_a_process_is_identified_by_host_number_and_start() -> None:
    own = identify(os.getpid())
    assert own == identify(os.getpid())
    assert own != identify(os.getppid())
    assert own.start_time
    assert not identify(2**22 + 1).start_time


def test_a_peer_is_killed_only_when_its_host_and_start_time_match() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    try:
        identity = identify(process.pid)
        for other in (
            identity._replace(host="elsewhere"),
            identity._replace(start_time="1"),
            None,
        ):
            Peer(process=other).kill_if_local()
        time.sleep(0.2)
        assert process.poll() is None
        Peer(process=identity).kill_if_local()
        assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()


def test_a_single_rank_has_no_peers_and_no_store(world: World) -> None:
    exchange = HeartbeatExchange(world)
    exchange.start()
    assert not exchange.is_connected
    assert exchange.peers == {}
    exchange.close()


SCRIPT = """
import sys, time
from pneumo.distributed import heartbeat
from pneumo.distributed.peers import ExitStatus, HeartbeatExchange
from pneumo.distributed.startup import init, shutdown

def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)

def main():
    world = init()
    exchange = HeartbeatExchange(world)
    exchange.start()
    if world.rank == 0:
        peer = exchange.peers[1]
        until(lambda: peer.activity == "counting")
        print(peer.waiting, peer.process is not None, peer.exit_status, flush=True)
        until(lambda: peer.exit_status is not None)
        print(*peer.exit_status, flush=True)
    else:
        heartbeat.touch("counting")
        time.sleep(3)
        exchange.publish_exit(ExitStatus(2, "a wrong input"))
        time.sleep(2)
    world.barrier()
    exchange.close()
    shutdown()

main()
"""


def test_ranks_read_each_others_activity_and_exit_status(tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT)
    launch = Path(__file__).resolve().parents[2] / "job" / "launch.py"
    command = [sys.executable, str(launch), "--processes", "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["False True None", "2 a wrong input"]
