"""What .ci/gpu found, as summary.json and summary.md; and the machine it ran on."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

_TOO_LONG = (124, 130, 137)  # of timeout; of an interrupt; of a kill


def machine() -> dict[str, Any]:
    """The device, and the versions of what runs on it."""
    import platform
    from importlib.metadata import version

    import torch

    about: dict[str, Any] = {"device": "cpu", "name": platform.processor() or platform.machine()}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        about = {
            "device": "cuda",
            "name": properties.name,
            "devices": torch.cuda.device_count(),
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "capability": f"{properties.major}.{properties.minor}",
            "driver": _driver(),
        }
    names = ("torchvision", "timm", "captum", "numpy", "scipy", "pytest")
    return {
        **about,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        **{name: version(name) for name in names},
    }


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip().split("\n")[0]
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


def tests(out: Path, status: int | None) -> dict[str, Any]:
    """Counts, what failed and why, and figures that tests recorded; from the log where pytest was killed."""
    try:
        cases = ElementTree.parse(out / "tests.xml").getroot().findall(".//testcase")
    except (OSError, ElementTree.ParseError):
        return {**_from_log(out / "tests.log"), "ended": _ended(status)}
    failures, figures = {}, {}
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for case in cases:
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        counts["failed" if bad is not None else "skipped" if case.find("skipped") is not None else "passed"] += 1
        if bad is not None:
            failures[name] = (bad.get("message") or "").strip().partition("\n")[0]
        for one in case.iterfind(".//property"):
            figures[one.get("name", "")] = float(one.get("value", "nan"))
    return {**counts, "failures": failures, "figures": figures, "ended": _ended(status)}


def _from_log(log: Path) -> dict[str, Any]:
    text = log.read_text(errors="replace") if log.exists() else ""
    found = re.findall(r"^\S*?(test_\S+) (PASSED|FAILED|ERROR|SKIPPED)", text, re.MULTILINE)
    words = [word for _, word in found]
    failed = {name: "see tests.log" for name, word in found if word in ("FAILED", "ERROR")}
    counts = {"passed": words.count("PASSED"), "failed": len(failed), "skipped": words.count("SKIPPED")}
    return {**counts, "failures": failed, "figures": {}}


def _ended(status: int | None) -> str:
    if status is None:
        return "not run"
    return "in time" if status in (0, 1) else "too slow" if status in _TOO_LONG else f"status {status}"


def bench(out: Path, status: int | None) -> dict[str, Any]:
    """The figures; from the lines that came before the end where there is no document."""
    try:
        document = json.loads((out / "bench.json").read_text())
        figures = {key: value for key, value in document.items() if isinstance(value, float)}
    except (OSError, ValueError):
        figures = {}
        log = out / "bench.log"
        for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
            found = re.match(r"\s*(\d+\.\d+|nan) (.)  (.+)", line)
            if found:
                figures[found[3]] = float(found[1])
    return {"figures": figures, "ended": _ended(status)}


def _problem(summary: dict[str, Any]) -> str:
    ran, measured = summary["tests"], summary["bench"]
    problems = []
    if ran["failed"]:
        problems.append(f"{ran['failed']} tests failed.")
    if ran["ended"] != "in time":
        problems.append(f"The tests ended: {ran['ended']}.")
    if not ran["failed"] and not ran["passed"]:
        problems.append("No test was run.")
    if measured["ended"] != "in time" or not measured["figures"]:
        problems.append(f"The bench ended: {measured['ended']}.")
    return " ".join(problems)


def _markdown(summary: dict[str, Any]) -> str:
    ran = summary["tests"]
    lines = [
        "# kdviz on a GPU",
        "",
        f"**{'Passed' if summary['passed'] else 'Not passed'}.** {summary['problem']}".rstrip(),
        "",
        ", ".join(f"{name} {value}" for name, value in summary["machine"].items()),
        "",
        f"Tests: {ran['passed']} passed, {ran['failed']} failed, {ran['skipped']} skipped ({ran['ended']}).",
        *(f"- {name}: {message}" for name, message in ran["failures"].items()),
        "",
        "| figure | value |",
        "|---|---:|",
        *(f"| {name} | {value:.6g} |" for name, value in {**ran["figures"], **summary["bench"]["figures"]}.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--machine", action="store_true", help="write machine.json, and nothing else")
    parser.add_argument("--tests", type=int, help="exit status")
    parser.add_argument("--bench", type=int, help="exit status")
    parser.add_argument("--problem", default="", help="why neither was run")
    options = parser.parse_args()
    if options.machine:
        (options.out / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n")
        return 0
    try:
        about = json.loads((options.out / "machine.json").read_text())
    except (OSError, ValueError):
        about = {}
    summary = {"machine": about, "tests": tests(options.out, options.tests), "bench": bench(options.out, options.bench)}
    problem = options.problem or _problem(summary)
    summary = {"passed": not problem, "problem": problem, **summary}
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (options.out / "summary.md").write_text(_markdown(summary))
    print(_markdown(summary))
    return 0 if summary["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
