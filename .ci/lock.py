"""The versions that the deployed app is tested with: assets/deploy/constraints.txt, as pip resolves them from nothing.

python .ci/lock.py            write the file anew, from the newest versions that requirements.txt allows
python .ci/lock.py --check    say what in the file requirements.txt does not allow, or what it lacks; exit 1 then
python .ci/lock.py --installed    say where the environment of this Python differs from the file; exit 1 then
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "assets" / "deploy" / "constraints.txt"
LOGIN = "streamlit[auth]"  # what a login needs, too
HEAD = (
    "# What the deployed app is tested with, and what the audit looks at; .ci/lock.py writes it.\n"
    "# pip install -c assets/deploy/constraints.txt -r requirements.txt\n"
)


def resolved() -> dict[str, str]:
    """Name -> version of all that pip would install into an empty environment."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command += ["-r", str(ROOT / "requirements.txt"), LOGIN]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    about = [item["metadata"] for item in report["install"]]
    return {canonicalize_name(one["name"]): one["version"].partition("+")[0] for one in about}


def pinned(text: str) -> dict[str, str]:
    """Name -> version of the lines of a file of constraints."""
    found = (re.fullmatch(r"([a-z0-9.-]+)==(\S+)", line) for line in text.splitlines() if not line.startswith("#"))
    return {match[1]: match[2] for match in found if match}


def required() -> list[Requirement]:
    """What requirements.txt asks for."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def disagreements(pins: dict[str, str], requirements: Iterable[Requirement]) -> Iterator[str]:
    """A sentence for each requirement that a file of constraints does not fit."""
    for requirement in requirements:
        version = pins.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"{requirement.name} is not pinned."
        elif version not in requirement.specifier:
            yield f"{requirement.name}=={version} is pinned, but requirements.txt asks for {requirement.specifier}."


def differences(pins: dict[str, str], installed: dict[str, str]) -> Iterator[str]:
    """A sentence for each installed package of another version than is pinned."""
    for name, version in sorted(installed.items()):
        if name in pins and version.partition("+")[0] != pins[name]:
            yield f"{name}=={version} is installed, but {pins[name]} is pinned."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true")
    what.add_argument("--installed", action="store_true")
    options = parser.parse_args()
    if not (options.check or options.installed):
        FILE.write_text(HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(resolved().items())))
        return 0
    pins = pinned(FILE.read_text())
    installed = {canonicalize_name(one.name): one.version for one in distributions()}
    said = list(disagreements(pins, required()) if options.check else differences(pins, installed))
    print(*said, sep="\n", end="\n" if said else "")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
