"""Fixtures: real digits, and a small experiment with untrained networks."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

from kdviz.core.environment import cores
from kdviz.data import LabelledImages, bundled_digits, mnist
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import Experiment, InputSpec, load_experiment

# Their fixtures, and what a failed assertion there compared.
pytest_plugins = ["browser", "drawn_pages", "imported", "map_jobs"]
pytest.register_assert_rewrite("attention_studies", "ray_cluster")

# Tests start many processes, which would all compile kdviz again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start: tests already run side by side

SUPPORT = Path(__file__).parent / "support"
SMALL = InputSpec(size=(14, 14), channels=1, mean=(0.2,), std=(0.5,))
NETWORKS = {"teacher": "paper_cnn", "kd_student": "paper_fc", "student": "paper_fc"}


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run files side by side where pytest-xdist is installed, unless ``-n`` says how many processes there are.

    A file stays in one process, as its tests share what is costly to make; the longest files, which need a browser,
    come first.
    """
    if not config.pluginmanager.hasplugin("xdist") or hasattr(config, "workerinput"):
        return
    if config.option.numprocesses is None and config.option.dist == "no" and not config.option.usepdb:
        config.option.numprocesses = _processes(config)
        config.option.dist = "loadfile"
        config.option.loadscopereorder = False


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what tests share: to import it may start a server, or need what is missing. Named files are run."""
    if collection_path.parent != SUPPORT:
        return None
    named = {(config.invocation_params.dir / str(given).partition("::")[0]).resolve() for given in config.args}
    return collection_path not in named


def _processes(config: pytest.Config) -> int:
    """Two more than cores, at most four; 0, this one alone, for a single file, as others take seconds to start.

    Two more, since a browser test waits for a third of its time, and the last long files would each wait alone.
    """
    if len(config.args) == 1 and not Path(config.args[0]).is_dir():
        return 0
    return min(cores() + 2, 4) if cores() > 1 else 0


def pytest_collection_finish() -> None:
    """Leave what modules hold, a million objects, out of each later collection of garbage.

    Streamlit collects after each run of a page, and tests collect to see that something is forgotten.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def digits() -> LabelledImages:
    """The 5,000 bundled digits."""
    return bundled_digits()["bundled"]


@pytest.fixture(scope="session")
def small_digits(digits) -> LabelledImages:
    """The same at 14 x 14: every second pixel, so that training takes no time."""
    return LabelledImages(digits.images[:, :, ::2, ::2].contiguous(), digits.labels, digits.classes, digits.split)


@pytest.fixture(scope="session")
def _untrained(tmp_path_factory, digits) -> Path:
    experiment = Experiment(tmp_path_factory.mktemp("models") / "tiny", "mnist", digits.classes, SMALL, {}, "Tiny")
    for seed, (role, name) in enumerate(NETWORKS.items()):
        experiment.add_run(role, name, new_network(name, SMALL, 10, seed).eval(), {"epochs": 0}, {})
    experiment.save()
    return experiment.folder


@pytest.fixture
def tiny_folder(_untrained, tmp_path) -> Path:
    """A fresh copy of an experiment of three untrained networks, 14 x 14."""
    return Path(shutil.copytree(_untrained, tmp_path / "tiny"))


@pytest.fixture
def tiny(tiny_folder) -> Experiment:
    """The same, loaded."""
    return load_experiment(tiny_folder)


@pytest.fixture
def digit_file(digits, tmp_path) -> Path:
    """A real digit as a PNG file."""
    path = tmp_path / "digit.png"
    digits.picture(0).save(path)
    return path


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder of the official MNIST; without it the test is skipped."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("KDVIZ_MNIST", beside))
    if not folder.is_dir():
        pytest.skip("needs the official MNIST: set KDVIZ_MNIST to the folder that holds MNIST/raw")
    return folder


@pytest.fixture(scope="session")
def mnist_splits(mnist_folder) -> dict[str, LabelledImages]:
    return mnist(mnist_folder)


@pytest.fixture(scope="session")
def tiles_folder() -> Path:
    """The folder with real tiles (colon/, mhist-layout/) and weights/; without it the test is skipped."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("KDVIZ_TILES", beside))
    if not all((folder / name).is_dir() for name in ("colon", "mhist-layout", "weights")):
        pytest.skip("needs real histology: set KDVIZ_TILES to the folder that holds colon, mhist-layout and weights")
    return folder
