"""What a server's processes leave free goes back to the system, and threads do not spread it over many heaps."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time

import pytest
from faulty import ROOT

from kdviz.serving import memory
from kdviz.serving.memory import RegularReturn

IS_GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")

HEAPS = """
import asyncio, ctypes, os, sys, tempfile, threading

def work(together):
    together.wait()  # all are alive at once
    blocks = [ctypes.CDLL(None).malloc(5000) for _ in range(100)]
    together.wait()

def heaps():
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    with tempfile.NamedTemporaryFile() as file:
        stream = ctypes.c_void_p(library.fopen(file.name.encode(), b"w"))
        library.malloc_info(0, stream)
        library.fclose(stream)
        return file.read().count(b"<heap ")

async def serve():
    from kdviz.app import shell
    shell._start = lambda: None  # no models
    async with shell.lifespan(None):
        run_threads()

def run_threads():
    together = threading.Barrier(12)
    threads = [threading.Thread(target=work, args=(together,)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

if sys.argv[1] == "server":
    before = heaps()
    asyncio.run(serve())
else:
    before = heaps()
    run_threads()
print(heaps() - before)
"""


@pytest.mark.skipif(not IS_GLIBC or (os.cpu_count() or 1) < 2, reason="only glibc has a heap for each of some threads")
def test_threads_of_a_server_share_two_heaps() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    environment |= {"PYTHONPATH": str(ROOT)}
    more = {}
    for kind in ("server", "plain"):
        done = subprocess.run(
            [sys.executable, "-c", HEAPS, kind], capture_output=True, text=True, env=environment, check=True
        )
        more[kind] = int(done.stdout)
    assert more["server"] <= 1, more
    assert more["plain"] > 2, more  # otherwise the test shows nothing


def test_memory_is_returned_after_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    returned: list[float] = []
    used = [10.0]
    monkeypatch.setattr(memory, "give_back_memory", lambda: returned.append(used[0]))
    monkeypatch.setattr(time, "process_time", lambda: used[0])
    regular = RegularReturn()
    assert not regular.look()
    used[0] += 0.4
    assert not regular.look()  # next to nothing
    used[0] += 0.4
    assert regular.look()
    assert not regular.look()  # nothing since then
    assert returned == [10.8]


def test_it_goes_on_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(range(3))
    seen = threading.Event()

    def look(regular: RegularReturn) -> None:
        if next(looks, None) is None:
            regular.stop()
            seen.set()

    monkeypatch.setattr(memory, "_BETWEEN", 0.01)
    monkeypatch.setattr(RegularReturn, "look", look)
    RegularReturn().start()
    assert seen.wait(60)
