import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import JPEGLSLossless
from waiting import LONG_S

from pneumo.dataset import limits, workers
from pneumo.dataset.limits import Limits
from pneumo.dataset.workers import Pool, WorkerDied
from pneumo.runtime.errors import UserError
from pneumo.synthetic.dicom_writer import write_dicom

LIMITS = Limits()
SHORT = Limits(time_limit=0.5)


def double(number: int) -> int:
    return 2 * number


def die_on_seven(number: int) -> int:
    if number == 7:
        os._exit(1)
    time.sleep(0.002)
    return 2 * number


def die_once(mark: Path) -> int:
    """Die at the first attempt, as by the kernel's out-of-memory killer."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1


def hang(path: Path) -> str:
    """Work for ages in native code while holding the interpreter's lock, as a decoder in an endless loop does."""
    if path.name == "hangs":
        with path.open("a") as file:
            file.write("begun ")
        re.match("(a+)+b", 60 * "a")
    return path.name


def read_and_hang(path: Path) -> str:
    limits._TIMERS[signal.ITIMER_REAL] = 1200  # the processor time is to end it, however busy the machine is
    return limits.timed(hang, path)


def read_and_pause(path: Path) -> str:
    """Take longer than the limit, but not over a file."""
    read_and_hang(path)
    time.sleep(0.8)
    return path.name


def allocate(gib: float) -> int:
    return len(bytearray(int(gib * 2**30)))


def name_memory_error(gib: float) -> str:
    try:
        return str(allocate(gib))
    except MemoryError:
        return "MemoryError"


def decode_with_gdcm(path: Path) -> object:
    return pixel_array(path, decoding_plugin="gdcm").shape


def raise_value_error(number: int) -> int:
    raise ValueError(f"number {number}")


def opencv_threads(_: object) -> int:
    import cv2

    return cv2.getNumThreads()


def run(
    function: Callable[[Any], Any], items: Sequence[Any], processes: int, limits: Limits, *, max_attempts: int = 1
) -> list[tuple[int, Any]]:
    with Pool(processes, limits) as pool:
        return list(pool.run(function, items, max_attempts=max_attempts))


@pytest.mark.parametrize("count", [0, 1, 9])
def test_every_item_is_done_once(count: int) -> None:
    assert sorted(run(double, range(count), 2, LIMITS)) == [(n, 2 * n) for n in range(count)]


@pytest.mark.parametrize("max_attempts", [1, 2])
def test_only_the_item_that_ends_its_process_is_lost(max_attempts: int) -> None:
    results = dict(run(die_on_seven, range(20), 3, LIMITS, max_attempts=max_attempts))
    assert results == {n: WorkerDied(1) if n == 7 else 2 * n for n in range(20)}


def test_real_crash_of_a_decoder_is_survived(tmp_path: Path) -> None:
    write_dicom(
        tmp_path / "x.dcm", np.zeros((16, 16), np.uint8), image_id="1.2", patient_id="p", view="PA", sex="F", age=50,
        spacing_mm=0.2, syntax="jpeg", photometric="MONOCHROME2",
    )  # fmt: skip
    dataset = dcmread(tmp_path / "x.dcm")
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    # A JPEG-LS header that claims 31 bits a sample: gdcm throws what nothing catches.
    dataset.PixelData = encapsulate([bytes.fromhex("ffd8 fff7000b 1f 0010 0010 01 011100 ffda0008 01 0100 000000")])
    dataset.save_as(tmp_path / "x.dcm")
    results = run(decode_with_gdcm, [tmp_path / "x.dcm"], 1, LIMITS, max_attempts=2)
    assert results == [(0, WorkerDied(-signal.SIGABRT))]
    assert limits.rejection_of_exit(-signal.SIGABRT, LIMITS).found == "the process that read it ended by SIGABRT"


def test_item_that_dies_once_is_repeated_up_to_max_attempts(tmp_path: Path) -> None:
    assert run(die_once, [tmp_path / "1"], 1, LIMITS, max_attempts=2) == [(0, 1)]
    assert run(die_once, [tmp_path / "2"], 1, LIMITS) == [(0, WorkerDied(-signal.SIGKILL))]


def test_item_that_never_returns_is_killed_and_the_others_finish(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("1", "hangs", *"23456")]
    results = [result for _, result in run(read_and_hang, paths, 2, SHORT, max_attempts=2)]
    assert results == [*"123456", WorkerDied(-signal.SIGPROF)]
    # Another attempt would take as long again.
    assert paths[1].read_text() == "begun "


def test_time_limit_is_per_file_and_not_per_item(tmp_path: Path) -> None:
    assert run(read_and_pause, [tmp_path / "1", tmp_path / "2"], 1, SHORT) == [(0, "1"), (1, "2")]


def test_memory_beyond_the_limit_is_an_error_that_can_be_caught() -> None:
    results = dict(run(name_memory_error, [0.1, 0.6, 0.1], 1, Limits(memory_limit=0.5)))
    small = str(int(0.1 * 2**30))
    assert results == {0: small, 1: "MemoryError", 2: small}
    assert allocate(0.6), "the parent is not limited"


def test_threads_that_would_count_as_memory_are_not_started() -> None:
    assert run(opencv_threads, [0], 1, LIMITS) == [(0, 1)]


def test_exceptions_of_the_function_are_raised_with_their_traceback() -> None:
    with pytest.raises(ValueError, match="number 3") as caught:
        run(raise_value_error, [3], 1, LIMITS)
    assert "in raise_value_error" in "".join(caught.value.__notes__)


def test_processes_that_cannot_start_are_not_blamed_on_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_serve", abs)  # fails at once: it takes one argument
    with pytest.raises(UserError, match="worker processes die as soon as they start"):
        (run(abs, [1, 2], 2, LIMITS))


def serve_at_the_fourth_start(directory: Path, pipe: Connection, limits_: Limits) -> None:
    """Die before an item comes, as when the server of the processes is killed."""
    for number in range(3):
        with suppress(FileExistsError):
            (directory / str(number)).touch(exist_ok=False)
            os._exit(1)
    workers._serve(pipe, limits_)


def test_a_few_processes_that_die_at_their_start_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_serve", partial(serve_at_the_fourth_start, tmp_path))
    results = run(double, [1, 2, 3], 2, LIMITS)
    assert sorted(results) == [(0, 2), (1, 4), (2, 6)]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_server_that_is_killed_while_a_process_starts_is_replaced() -> None:
    assert run(double, [1], 1, LIMITS) == [(0, 2)]
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    os.kill(server, signal.SIGSTOP)
    Timer(0.3, os.kill, (server, signal.SIGKILL)).start()
    assert sorted(run(double, [1, 2], 2, LIMITS)) == [(0, 2), (1, 4)]
    assert forkserver._forkserver._forkserver_pid != server  # type: ignore[attr-defined]


def test_the_command_is_not_run_again_by_the_processes(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from pneumo.dataset import workers\nfrom pneumo.dataset.limits import Limits\n"
        "with workers.Pool(2, Limits()) as pool:\n    print(sorted(pool.run(abs, [-1, -2])))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=LONG_S, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "[(0, 1), (1, 2)]\n"), ended.stderr


def test_workers_import_little(tmp_path: Path) -> None:
    """For torch each would take .9 GB, and no DICOM needs it; the parent, as job/predict.py, has it."""
    script = tmp_path / "main.py"
    script.write_text(
        "import torch\n"
        "from pneumo.dataset import scan, shard_writer, workers\n"
        "from pneumo.dataset.limits import Limits\n"
        "if __name__ == '__main__':\n"
        '    found = \'{"torch", "pyarrow", "scipy", "sklearn", "cv2"} & {*__import__("sys").modules}\'\n'
        "    print(list(workers.Pool(1, Limits()).run(eval, [found])))\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, timeout=LONG_S,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.stdout.strip() == "[(0, {'cv2'})]"


def pid(_: object) -> int:
    return os.getpid()


def die_or_pid(number: int) -> int:
    if number == 0:
        os._exit(1)
    return os.getpid()


def test_processes_stay_for_the_next_run() -> None:
    with Pool(2, LIMITS) as pool:
        (first,) = (result for _, result in pool.run(pid, [0]))
        assert dict(pool.run(die_or_pid, [1, 1])).get(0) == first
        assert dict(pool.run(die_or_pid, [0, 0])) == {0: WorkerDied(1), 1: WorkerDied(1)}
        assert sorted(pool.run(double, range(5))) == [(n, 2 * n) for n in range(5)]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_pool_that_was_stopped_has_no_process_until_there_are_items_again() -> None:
    with Pool(2, LIMITS) as pool:
        assert sorted(pool.run(double, [1, 2])) == [(0, 2), (1, 4)]
        pool.stop()
        assert not pool._workers
        assert sorted(pool.run(double, [3])) == [(0, 6)]


def test_a_process_that_died_between_two_runs_costs_no_item() -> None:
    with Pool(1, LIMITS) as pool:
        (first,) = (result for _, result in pool.run(pid, [0]))
        os.kill(first, signal.SIGKILL)
        wait(list(pool._workers), timeout=LONG_S)
        assert list(pool.run(double, [1])) == [(0, 2)]


def test_a_run_that_is_given_up_ends_its_busy_processes() -> None:
    with Pool(1, LIMITS) as pool:
        results = pool.run(time.sleep, [0, 1000])
        next(results)
        results.close()
        assert not pool._workers
        assert list(pool.run(double, [1])) == [(0, 2)]


def test_the_server_starts_without_being_waited_for_and_ignores_ctrl_c() -> None:
    script = (
        "import os, signal, time\nfrom multiprocessing import forkserver\nfrom pneumo.dataset import workers\n"
        "from pneumo.dataset.limits import Limits\n"
        "if __name__ == '__main__':\n"
        "    workers.start_server()\n"
        "    server = forkserver._forkserver._forkserver_pid\n"
        "    os.kill(server, signal.SIGINT)\n"
        "    with workers.Pool(1, Limits()) as pool:\n"
        "        print(list(pool.run(abs, [-1])), server == forkserver._forkserver._forkserver_pid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=LONG_S,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[(0, 1)] True\n", "")
