"""What the deployed app consists of: pinned versions, their list, and what is known of them; SECURITY.md's tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "assets" / "deploy" / "constraints.txt"


def script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pinned_versions_fit_what_the_app_asks_for() -> None:
    lock = script("lock")
    pins = lock.pinned(CONSTRAINTS.read_text())
    assert len(pins) > 50
    assert {"streamlit", "torch", "authlib"} <= pins.keys()
    assert list(lock.disagreements(pins, lock.required())) == []


def test_a_pin_that_does_not_fit_is_said() -> None:
    lock = script("lock")
    asked = [Requirement("numpy>=2,<3"), Requirement("torch>=2.11"), Requirement("tqdm")]
    said = list(lock.disagreements({"numpy": "1.26.4", "torch": "2.14.1"}, asked))
    assert said == ["numpy==1.26.4 is pinned, but requirements.txt asks for <3,>=2.", "tqdm is not pinned."]
    assert list(lock.differences({"numpy": "2.4.6"}, {"numpy": "2.4.5", "rich": "1"})) == [
        "numpy==2.4.5 is installed, but 2.4.6 is pinned."
    ]
    assert list(lock.differences({"torch": "2.14.1"}, {"torch": "2.14.1+cpu"})) == []


def test_an_audit_is_none_where_nothing_can_be_looked_up(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """pip-audit ends with status 0 when no package is found where it looks: that must not read as none is weak."""
    audit = script("audit")
    answers = {"pypi": '{"dependencies": [{"name": "numpy", "skip_reason": "not found"}]}', "osv": "Traceback ..."}
    asked = []

    def run(command: list[str], **_: Any) -> Any:
        asked.append(command[command.index("--vulnerability-service") + 1])
        return subprocess.CompletedProcess(command, 0, answers[asked[-1]], "")

    monkeypatch.setattr(audit.subprocess, "run", run)
    assert audit.main() == 0
    assert "Not audited" in capsys.readouterr().out
    assert asked == ["pypi", "osv"]
    weak = {"name": "numpy", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}
    answers["pypi"] = json.dumps({"dependencies": [weak, {"name": "odd", "skip_reason": "not found"}]})
    assert audit.main() == 1
    assert capsys.readouterr().out == ("numpy==2.0 has CVE-1; mended in 2.1.\nodd could not be looked up: not found\n")
    answers["pypi"] = json.dumps({"dependencies": [{**weak, "vulns": []}]})
    assert audit.main() == 0
    assert capsys.readouterr().out == "No weakness is known (pypi, 1 packages).\n"


@pytest.mark.slow
def test_the_list_of_parts_is_valid_and_complete(tmp_path: Path) -> None:
    """The command that docs/how-to/many-people.md gives."""
    pytest.importorskip("cyclonedx_py", reason="cyclonedx-bom is not installed")
    text = (ROOT / "docs" / "how-to" / "many-people.md").read_text()
    (command,) = re.findall(r"^cyclonedx-py (requirements .*) -o sbom\.json$", text, re.MULTILINE)
    path = tmp_path / "sbom.json"
    subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", *command.split(), "--validate", "-o", str(path)], cwd=ROOT, check=True
    )
    document = json.loads(path.read_text())
    assert document["bomFormat"] == "CycloneDX"
    parts = {part["name"]: part["version"] for part in document["components"]}
    assert parts == script("lock").pinned(CONSTRAINTS.read_text())


# SECURITY.md ----------------------------------------------------------------------------------------------------------


def promises() -> list[str]:
    """The rows of SECURITY.md's table of promises."""
    table = (ROOT / "SECURITY.md").read_text().partition("| promise | test |")[2].partition("\n\n")[0]
    return [line for line in table.splitlines()[2:] if line.startswith("|")]


def test_each_promise_of_security_names_a_test_that_exists() -> None:
    rows = promises()
    assert len(rows) >= 10
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", row)
        assert named, row
        for path, name in named:
            assert (ROOT / path).exists(), path
            assert not name or f"def {name}(" in (ROOT / path).read_text(), (path, name)
