"""Identity of processes, and the exchange of heartbeats and exit statuses between ranks."""

import os
import signal
import subprocess
import sys
import time

from rank_programs import Ended
from waiting import LONG_S

from pneumo.distributed.peers import HeartbeatExchange, Peer, identify
from pneumo.distributed.rendezvous import Meeting


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
        assert process.wait(LONG_S) == -signal.SIGKILL
    finally:
        process.kill()


def test_a_single_rank_has_no_peers_and_no_store() -> None:
    exchange = HeartbeatExchange(Meeting(), "run")
    exchange.start()
    assert not exchange.is_connected
    assert exchange.peers == {}
    exchange.close()


def test_ranks_read_each_others_activity_and_exit_status(worlds: dict[str, Ended]) -> None:
    codes, output = worlds["exchange"]
    assert codes == [0, 0], output
    assert output.splitlines() == ["True None", "ExitStatus(code=2, message='a wrong input')"]
