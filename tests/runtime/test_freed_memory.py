"""Memory that is freed and taken again: pages of it that the system has to clear."""

import subprocess
import sys

import pytest

from pneumo.runtime import freed_memory
from pneumo.runtime.freed_memory import keep_freed_memory

PROGRAM = """
import ctypes, resource, sys
from pneumo.runtime.freed_memory import give_back_freed_memory, keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
SIZE = 2**26
if sys.argv[1] != "leave":
    assert keep_freed_memory()
if sys.argv[1] == "give back":
    assert give_back_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(SIZE)
    ctypes.memset(block, 1, SIZE)
    libc.free(block)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / SIZE)
"""
IS_GLIBC = hasattr(freed_memory.ctypes.CDLL(None), "gnu_get_libc_version")


@pytest.mark.skipif(not IS_GLIBC, reason="of glibc")
@pytest.mark.parametrize(
    ("mode", "lowest", "highest"), [("leave", 0.9, 1.1), ("keep", 0.0, 0.1), ("give back", 0.9, 1.1)]
)
def test_kept_memory_is_not_cleared_again(mode: str, lowest: float, highest: float) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
    assert lowest <= float(done.stdout) <= highest


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()
