"""The check on a GPU, .ci/gpu, without a GPU: what it needs, what it says, and that the tests marked gpu work."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What a machine with a GPU is said to have (the head of .ci/gpu), and the wheels that are carried there.
THERE = (
    "torch",
    "torchvision",
    "timm",
    "pyarrow",
    "safetensors",
    "scipy",
    "matplotlib",
    "jinja2",
    "pytest",
)
CARRIED = ("captum", "tqdm", "fsspec")
# Beside Python's own import: nothing else that is installed here is found.
FENCE = """
import os, sys
from importlib.machinery import PathFinder

hidden = set(os.environ["HIDDEN"].split(","))

class Fence(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if path is None and name.partition(".")[0] in hidden:
            path = [one for one in sys.path if "-packages" not in one]
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Fence
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def with_what_they_need(names: tuple[str, ...]) -> set[str]:
    known: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonical(waiting.pop())
        if name in known:
            continue
        known.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another platform
        waiting += [re.match(r"[\w.-]+", requirement)[0] for requirement in needs if "extra ==" not in requirement]  # type: ignore[index]
    return known


def hidden(there: tuple[str, ...]) -> str:
    """The modules of all packages but some and what these need."""
    known = with_what_they_need(there)
    modules = metadata.packages_distributions().items()
    return ",".join(module for module, of in modules if module != "kdviz" and known.isdisjoint(map(canonical, of)))


def check(tmp_path: Path, there: tuple[str, ...] = (*THERE, *CARRIED), **more: str) -> tuple[int, dict, str]:
    """The script on a machine with some packages only: exit status, summary, and what it wrote."""
    (tmp_path / "fence").mkdir()
    (tmp_path / "fence" / "sitecustomize.py").write_text(FENCE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KDVIZ_GPU")}
    environment |= {"PYTHON": sys.executable, "PYTHONPATH": str(tmp_path / "fence"), "HIDDEN": hidden(there)}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **more}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # no plugin is among the packages that are there
    command = ["bash", str(ROOT / ".ci" / "gpu"), str(tmp_path / "wheels"), str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    return done.returncode, summary, done.stdout + done.stderr


def test_streamlit_is_behind_the_fence():
    names = hidden((*THERE, *CARRIED)).split(",")
    assert {"streamlit", "plotly", "babel"} <= set(names)
    assert not {"torch", "numpy", "PIL", "captum", "pytest", "scipy", "kdviz"} & set(names)


def test_what_is_missing_is_named_in_one_sentence(tmp_path):
    status, summary, _ = check(tmp_path, there=tuple(name for name in THERE if name != "timm"))
    assert status == 1
    assert summary["problem"] == "Python packages are missing here and in the folder of wheels: timm captum tqdm."
    assert summary["tests"]["ended"] == summary["bench"]["ended"] == "not run"


@pytest.mark.slow
def test_without_a_gpu_it_says_so_and_has_not_passed(tmp_path):
    status, summary, output = check(tmp_path)
    assert (status, summary["passed"]) == (1, False)
    assert summary["problem"] == "There is no CUDA device here, so nothing was checked."
    assert summary["machine"]["device"] == "cpu"
    assert "**Not passed.** There is no CUDA device here" in output


@pytest.mark.slow
def test_a_dry_run_with_the_listed_packages_alone(tmp_path):
    """Each file's quick tests, on the CPU; and a bench that is cut off at once."""
    some = "logits or halves or exact or deletion or (learns and bfloat16) or moments"
    status, summary, output = check(
        tmp_path, KDVIZ_GPU_TEST_DEVICE="cpu", KDVIZ_GPU_ONLY=some, KDVIZ_GPU_SECONDS="2000 0.3"
    )
    log = (tmp_path / "out" / "tests.log").read_text()
    assert summary["tests"]["failed"] == 0, log
    assert summary["tests"]["passed"] >= 6, log
    assert summary["tests"]["ended"] == "in time"
    assert all(f"test_gpu_{part}.py" in log for part in ("maps", "methods", "training"))
    assert summary["tests"]["figures"]["error of logits, teacher, float32"] == 0
    assert summary["bench"]["ended"] == "too slow"
    assert (status, summary["problem"]) == (1, "The bench ended: too slow.")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("tests.xml", "tests.log", "bench.json", "bench.log", "machine.json", "summary.json", "summary.md")
    }
    assert "| error of logits, teacher, float32 | 0 |" in output


# the summary ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def summary_of():
    spec = importlib.util.spec_from_file_location("gpu_summary", ROOT / ".ci" / "gpu_summary.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_a_killed_pytest_had_done_is_known_from_its_log(summary_of, tmp_path):
    (tmp_path / "tests.log").write_text(
        "tests/integration/test_gpu_maps.py::test_a[x-1] PASSED [ 10%]\n"
        "tests/integration/test_gpu_maps.py::test_b SKIPPED (no CUDA device) [ 20%]\n"
        "tests/integration/test_gpu_maps.py::test_c FAILED [ 30%]\n"
        "tests/integration/test_gpu_maps.py::test_d "
    )
    summary = summary_of.tests(tmp_path, 137)
    assert (summary["passed"], summary["failed"], summary["skipped"], summary["ended"]) == (1, 1, 1, "too slow")
    assert list(summary["failures"]) == ["test_gpu_maps.py::test_c"]


def test_the_bench_lines_that_came_are_kept(summary_of, tmp_path):
    (tmp_path / "bench.json").write_text("")
    (tmp_path / "bench.log").write_text("     1.234 x  MNIST teacher: time\n     0.050 s  three models\nTraceback\n")
    summary = summary_of.bench(tmp_path, 124)
    assert summary == {"figures": {"MNIST teacher: time": 1.234, "three models": 0.05}, "ended": "too slow"}
    (tmp_path / "bench.json").write_text('{"device": "x", "threads": 1, "same_masks_speedup": 9.5, "details": {}}')
    assert summary_of.bench(tmp_path, 0) == {"figures": {"same_masks_speedup": 9.5}, "ended": "in time"}


def test_no_test_at_all_is_no_pass(summary_of, tmp_path, monkeypatch, capsys):
    passed = '<testsuites><testsuite><testcase name="a" /></testsuite></testsuites>'
    (tmp_path / "tests.xml").write_text(passed.replace(" />", "><skipped/></testcase>"))
    (tmp_path / "bench.json").write_text('{"same_masks_speedup": 9.5}')
    monkeypatch.setattr(sys, "argv", ["summary", str(tmp_path), "--tests", "0", "--bench", "0"])
    assert summary_of.main() == 1
    assert "No test was run." in capsys.readouterr().out
    (tmp_path / "tests.xml").write_text(passed)
    assert summary_of.main() == 0
    (tmp_path / "tests.xml").write_text(passed.replace(" />", '><failure message="assert 1 == 2"/></testcase>'))
    assert summary_of.main() == 1
    assert "- ::a: assert 1 == 2" in capsys.readouterr().out
