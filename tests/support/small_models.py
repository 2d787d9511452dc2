"""A folder of small experiments for the pages: one with every study, and ones with pieces missing."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import NETWORKS, SMALL
from sweeps import CONFIG, finish, small_splits

from kdviz.data import LabelledImages
from kdviz.distill import fit
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import Experiment, load_experiment
from kdviz.studies.predictions.evaluation import evaluate
from kdviz.studies.sweep.runner import STUDIES, Sweep

SIZES = {"train": 400, "validation": 100, "test": 200}
VALUES = {"temperature": [1.0, 4.0], "alpha": [0.5, 0.9], "loss": ["soft_targets", "dist"], "teacher-epochs": [1, 2]}


def make_models(folder: Path, digits: LabelledImages) -> None:
    """Write ``shapes`` (every table; named as if it were no digits) and copies of it with pieces missing.

    ``no-predictions``, ``no-pictures``, ``no-teacher`` and ``old`` (tables of an earlier version, or damaged).
    """
    splits = small_splits(digits, SIZES)
    made = Experiment(folder / "shapes", "folder", digits.classes, SMALL, {}, "Small shapes")
    for seed, (role, name) in enumerate(NETWORKS.items()):
        network = new_network(name, SMALL, 10, seed)
        for _ in fit(network, splits["train"], splits["validation"], SMALL.normalise, CONFIG):
            pass
        made.add_run(role, name, network.eval(), {"epochs": 2}, {})
    made.save()
    made.write_samples([splits["validation"], splits["test"]], limit=150)
    _copy(folder, "no-predictions")
    for name, values in VALUES.items():
        finish(Sweep(load_experiment(made.folder), name, splits, values, [0, 1], CONFIG, results=folder / "runs"))
    for split in ("validation", "test"):
        list(evaluate(made, splits[split], device="cpu"))
    (_copy(folder, "no-pictures") / "samples.parquet").unlink()
    _without_teacher(_copy(folder, "no-teacher"), splits["test"])
    _old(_copy(folder, "old"))
    shutil.rmtree(folder / "runs")


def _copy(folder: Path, name: str) -> Path:
    return Path(shutil.copytree(folder / "shapes", folder / name))


def _without_teacher(folder: Path, test: LabelledImages) -> None:
    experiment = load_experiment(folder)
    del experiment.runs["teacher"]
    experiment.save()
    (folder / "predictions.parquet").unlink()
    list(evaluate(experiment, test, device="cpu"))
    for study in STUDIES.values():
        (folder / f"{study.table}.parquet").unlink(missing_ok=True)


def _old(folder: Path) -> None:
    experiment = load_experiment(folder)
    experiment.write_table("temperature", experiment.table("temperature").drop_columns(["run"]))
    (folder / "teacher_epochs.parquet").write_bytes(b"damaged")
    for name in ("alpha", "loss"):
        (folder / f"{name}.parquet").unlink()
