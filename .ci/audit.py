"""Known weaknesses of what assets/deploy/constraints.txt pins, by pip-audit: python .ci/audit.py

Exit status: 0 none are known, or no list of weaknesses can be reached from here, which is said; 1 some are known.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "assets" / "deploy" / "constraints.txt"
SERVICES = ("pypi", "osv")


def answer(service: str) -> dict[str, Any] | None:
    """What a list of weaknesses says; None if it cannot be reached, or does not know a single package."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--requirement", str(FILE)]
    command += ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    try:
        said = json.loads(ran.stdout)
    except ValueError:
        return None
    return said if any("vulns" in package for package in said["dependencies"]) else None


def sentences(said: dict[str, Any]) -> list[str]:
    """A sentence for each weakness, and for each package that could not be looked up: silence is no answer."""
    found = []
    for package in said["dependencies"]:
        name = f"{package['name']}=={package['version']}" if "version" in package else package["name"]
        if "vulns" not in package:
            found.append(f"{name} could not be looked up: {package.get('skip_reason', 'no reason given')}")
        for weakness in package.get("vulns", ()):
            fixed = ", ".join(weakness["fix_versions"]) or "no version"
            found.append(f"{name} has {weakness['id']}; mended in {fixed}.")
    return found


def main() -> int:
    for service in SERVICES:
        said = answer(service)
        if said is not None:
            found = sentences(said)
            print(*(found or [f"No weakness is known ({service}, {len(said['dependencies'])} packages)."]), sep="\n")
            return 1 if found else 0
    print("Not audited: no list of weaknesses can be reached from here (pip-audit asked: " + ", ".join(SERVICES) + ").")
    return 0


if __name__ == "__main__":
    sys.exit(main())
