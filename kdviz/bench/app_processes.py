"""Memory and CPU time of a process and its descendants; from /proc on Linux, from ps elsewhere."""

from __future__ import annotations

import math
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
_HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$")
MB = 1e6


def family(pid: int) -> dict[int, str]:
    """Command lines of a process and its descendants, by process id."""
    lines = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True)
    return descendants(pid, lines.stdout.splitlines())


def descendants(pid: int, lines: Iterable[str]) -> dict[int, str]:
    """:func:`family` from lines of process ids, parents' ids and command lines."""
    commands: dict[int, str] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for row in lines:
        child, parent, command = [*row.split(None, 2), ""][:3]
        commands[int(child)] = command
        children[int(parent)].append(int(child))
    commands_by_pid, pending = {}, [pid]
    while pending:
        current = pending.pop()
        if current in commands and current not in commands_by_pid:
            commands_by_pid[current] = commands[current]
            pending += children[current]
    return commands_by_pid


def memory(pids: Iterable[int]) -> tuple[float, str]:
    """Megabytes of several processes together, and how they were counted.

    Pages of a file that several of them have mapped, such as torch's, are counted once. Plain PSS would divide them
    among other processes too: a benchmark that has loaded torch would make the server look smaller than it is.
    """
    pids = list(pids)
    if not (_PROC / "self" / "smaps").exists():
        output = subprocess.run(["ps", "-o", "rss=", "-p", ",".join(map(str, pids))], capture_output=True, text=True)
        return sum(map(int, output.stdout.split())) * 1024 / MB, "RSS"
    texts = []
    for pid in pids:
        try:
            texts.append((_PROC / str(pid) / "smaps").read_text(errors="replace"))
        except OSError:  # it has ended
            continue
    return total_bytes(texts) / MB, "PSS, files once"


def total_bytes(smaps: Iterable[str]) -> float:
    """Bytes of processes from their ``/proc/PID/smaps``: PSS of private memory, and each file's pages once."""
    private = 0.0
    files: dict[str, float] = defaultdict(float)
    for text in smaps:
        file_sizes: dict[str, float] = defaultdict(float)
        name = ""
        for row in text.splitlines():
            if head := _HEAD.match(row):
                name = head[1] if head[1].startswith("/") else ""
            elif row.startswith("Pss:") and not name:
                private += _bytes(row)
            elif row.startswith(("Rss:", "Anonymous:")) and name:
                # Pages of a file that were written to are private.
                private += _bytes(row) if row.startswith("Anonymous:") else 0
                file_sizes[name] += _bytes(row) * (1 if row.startswith("Rss:") else -1)
        for name, size in file_sizes.items():
            files[name] = max(files[name], size)
    return private + sum(files.values())


def _bytes(row: str) -> float:
    return float(row.split()[1]) * 1024


def pss(pids: Iterable[int]) -> float:
    """Megabytes by the kernel's proportional count; NaN where there is none."""
    total = 0.0
    for pid in pids:
        try:
            text = (_PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            return math.nan
        total += sum(_bytes(row) for row in text.splitlines() if row.startswith("Pss:"))
    return total / MB


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far, to far less than a millisecond; NaN where it is not available."""
    total = 0
    try:
        for thread in (_PROC / str(pid) / "task").iterdir():
            total += int((thread / "schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return math.nan
    return total / 1e9


def process_seconds(pid: int) -> float:
    """CPU time of a process so far, with that of ended threads, to a hundredth of a second; NaN without it."""
    try:
        times = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return math.nan
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def idle_from(times: list[float], used: list[float], share: float = 0.1, during: float = 0.3) -> float | None:
    """The time from which a process is idle.

    Args:
        times: Times, in order.
        used: CPU seconds of the process at each.
        share: Share of a core below which it is idle,
        during: on average over this many seconds.

    Returns:
        The first such time; None when there is none.
    """
    for first, (time, before) in enumerate(zip(times, used, strict=True)):
        last = next((index for index in range(first, len(times)) if times[index] >= time + during), None)
        if last is None:
            return None
        if used[last] - before < share * (times[last] - time) and _is_idle_at(times, used, first, share):
            return time
    return None


def _is_idle_at(times: list[float], used: list[float], index: int, share: float) -> bool:
    """Whether the next step is already idle, so that a window does not begin before the last work."""
    return used[index + 1] - used[index] < share * (times[index + 1] - times[index])
