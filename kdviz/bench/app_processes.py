"""Memory and CPU time of a process and all that it started; from /proc on Linux, from ps elsewhere."""

from __future__ import annotations

import math
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
_HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$")
MB = 1e6


def family(pid: int) -> dict[int, str]:
    """A process and all below it, by number: their command lines."""
    lines = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True)
    return descendants(pid, lines.stdout.splitlines())


def descendants(pid: int, lines: Iterable[str]) -> dict[int, str]:
    """:func:`family` out of lines of numbers, parents' numbers and command lines."""
    commands: dict[int, str] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for text in lines:
        number, parent, command = [*text.split(None, 2), ""][:3]
        commands[int(number)] = command
        children[int(parent)].append(int(number))
    found, waiting = {}, [pid]
    while waiting:
        one = waiting.pop()
        if one in commands and one not in found:
            found[one] = commands[one]
            waiting += children[one]
    return found


def memory(pids: Iterable[int]) -> tuple[float, str]:
    """Megabytes that some processes take together, and how that was found out.

    Pages of a file that several of them have mapped, say torch's, are counted once. Plain PSS would share them out
    among strangers too: a bench that has loaded torch would make the server look smaller than it is.
    """
    pids = list(pids)
    if not (_PROC / "self" / "smaps").exists():
        shown = subprocess.run(["ps", "-o", "rss=", "-p", ",".join(map(str, pids))], capture_output=True, text=True)
        return sum(map(int, shown.stdout.split())) * 1024 / MB, "RSS"
    texts = []
    for pid in pids:
        try:
            texts.append((_PROC / str(pid) / "smaps").read_text(errors="replace"))
        except OSError:  # it has ended
            continue
    return together(texts) / MB, "PSS, files once"


def together(smaps: Iterable[str]) -> float:
    """Bytes of processes whose ``/proc/PID/smaps`` these are: PSS of what is theirs, each file's pages once."""
    own = 0.0
    files: dict[str, float] = defaultdict(float)
    for text in smaps:
        of_one: dict[str, float] = defaultdict(float)
        name = ""
        for row in text.splitlines():
            if head := _HEAD.match(row):
                name = head[1] if head[1].startswith("/") else ""
            elif row.startswith("Pss:") and not name:
                own += _bytes(row)
            elif row.startswith(("Rss:", "Anonymous:")) and name:
                # Pages of a file that were written to are the process's own.
                own += _bytes(row) if row.startswith("Anonymous:") else 0
                of_one[name] += _bytes(row) * (1 if row.startswith("Rss:") else -1)
        for name, size in of_one.items():
            files[name] = max(files[name], size)
    return own + sum(files.values())


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
    """CPU time of all threads of a process so far, to far less than a millisecond; NaN where that is not told."""
    total = 0
    try:
        for thread in (_PROC / str(pid) / "task").iterdir():
            total += int((thread / "schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return math.nan
    return total / 1e9


def idle_from(times: list[float], used: list[float], share: float = 0.1, during: float = 0.3) -> float | None:
    """When a process began to rest.

    Args:
        times: Moments, in order.
        used: Its CPU seconds at each.
        share: Below so much of a core it rests,
        during: on average over so many seconds.

    Returns:
        The first such moment; None when there is none.
    """
    for first, (time, before) in enumerate(zip(times, used, strict=True)):
        last = next((at for at in range(first, len(times)) if times[at] >= time + during), None)
        if last is None:
            return None
        if used[last] - before < share * (times[last] - time) and _rests_at_once(times, used, first, share):
            return time
    return None


def _rests_at_once(times: list[float], used: list[float], at: int, share: float) -> bool:
    """Whether the step after a moment is already quiet, so that a window does not begin before the last work."""
    return used[at + 1] - used[at] < share * (times[at + 1] - times[at])
