"""A study of soft decision trees: several depths, with the experiment's teacher and without, over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdviz.core.devices import choose_device
from kdviz.core.errors import ExperimentError, KdvizError, SettingError
from kdviz.core.files import Store
from kdviz.core.jobs import run_local
from kdviz.core.vocabulary import Role, Split
from kdviz.data import LabelledImages
from kdviz.distill import Stage, TrainingConfig, check_teacher, predict_logits
from kdviz.distill.runs import run_in_worker
from kdviz.distill.sources import labelled_part
from kdviz.distill.storage.run_files import is_finished, read_array, read_result, read_weights, write_array
from kdviz.distill.storage.training_run import TrainingRun, data_fingerprint
from kdviz.distill.transfer import Backbone
from kdviz.experiment import Experiment, InputSpec
from kdviz.models.networks import DEPTHS, SoftTree, SparseLinear, networks, tree_name
from kdviz.studies.predictions.evaluation import model_metrics
from kdviz.studies.predictions.mistakes import COLUMNS, read_predictions
from kdviz.studies.predictions.stored_logits import stored_logits
from kdviz.studies.tree.nodes import node_rows, write_nodes
from kdviz.studies.tree.table import LABEL, SPARSE, TABLE

ROLES = (Role.KD_STUDENT, Role.STUDENT)

Row = dict[str, Any]


@dataclass
class TreeStudy:
    """Trees and sparse linear classifiers of one experiment, each with and without its teacher.

    Args:
        experiment: An experiment with a teacher.
        splits: Its data: ``train``, ``validation`` and splits that are only measured.
        depths: Depths of the trees.
        seeds: Seeds; each trains two trees of every depth.
        config: The recipe of all.
        results: Folder for the runs' files, a path or an fsspec URL; default ``runs`` in the experiment's folder.
        backbone: Role whose features the trees take, frozen; empty: the pixels.
        train_samples: Number of training samples, classes in their proportions; 0: all.

    Raises:
        SettingError: No depth or seed, a depth that no registered tree has, or a recipe that asks the teacher in every
            step.
        ExperimentError: There is no teacher, or no model of the role ``backbone``.
        ModelError: The teacher's classes are not those of the data, or the backbone has no features.
    """

    experiment: Experiment
    splits: Mapping[str, LabelledImages]
    depths: Sequence[int] = DEPTHS
    seeds: Sequence[int] = (0, 1, 2)
    config: TrainingConfig = field(default_factory=TrainingConfig)
    results: str | Path | None = None
    backbone: str = ""
    train_samples: int = 0

    def __post_init__(self) -> None:
        if not self.depths or not self.seeds:
            raise SettingError("A study needs at least one value and one seed.")
        if self.config.needs_teacher_network:
            raise SettingError(
                "The trees learn from the teacher's stored answers; leave augmentations and losses between layers away."
            )
        for role in filter(None, (Role.TEACHER, self.backbone)):
            if role not in self.experiment.models:
                raise ExperimentError(
                    "'{folder}' has no {role}, which a study needs.", folder=self.experiment.folder, role=role
                )
        if self.train_samples:
            chosen, _ = labelled_part(self._train, self.train_samples, 0)
            self.splits = {**self.splits, Split.TRAIN: self._train.take(chosen)}
        self.depths, self.seeds = sorted(set(self.depths)), list(dict.fromkeys(self.seeds))
        for depth in self.depths:
            _ = networks[tree_name(depth)]  # an error where there is no such tree
        check_teacher(self.experiment.runs[Role.TEACHER].model, self.experiment.classes, self._train.classes)
        self.store = Store(self.results or self.experiment.folder / "runs")

    @property
    def _train(self) -> LabelledImages:
        return self.splits[Split.TRAIN]

    @property
    def _measured(self) -> dict[str, LabelledImages]:
        return {name: samples for name, samples in self.splits.items() if name != Split.TRAIN}

    @cached_property
    def _inputs(self) -> tuple[Mapping[str, LabelledImages], InputSpec]:
        """The splits as the trees take them, and the specification of that input."""
        if not self.backbone:
            return self.splits, self.experiment.input
        model = self.experiment.runs[self.backbone].model
        backbone = Backbone(model, self.experiment.input, self.store, self.config.device)
        return {name: backbone.as_samples(samples) for name, samples in self.splits.items()}, backbone.head_spec()

    @cached_property
    def runs(self) -> list[TrainingRun]:
        """All trainings, those of the same depth and seed one after the other; linear classifiers last."""
        names = [*map(tree_name, self.depths), SPARSE]
        return [self._run(name, role, seed) for name in names for seed in self.seeds for role in ROLES]

    def _run(self, network: str, role: str, seed: int) -> TrainingRun:
        splits, spec = self._inputs
        teacher = self._teacher_key if role == Role.KD_STUDENT else ""
        return TrainingRun(role, network, replace(self.config, seed=seed), data_fingerprint(splits), spec, teacher)

    @property
    def _own_teacher(self) -> str:
        return self.experiment.runs[Role.TEACHER].sha256[:16]

    @property
    def _teacher_key(self) -> str:
        """The name in the store of the teacher's logits of these training samples; a sweep may learn from others."""
        return f"{self._own_teacher}/logits-train-of-{self._train.fingerprint[:16]}.npy"

    def run(self, engine: Callable[..., Iterator[tuple[int, Any]]] = run_local, *, threads: int = 0) -> Iterator[Stage]:
        """Do the trainings that are left, and write the tables.

        Args:
            engine: :func:`kdviz.core.jobs.run_local`, or a function like it.
            threads: Threads of torch in each training; 0: the default.
        """
        _ = self.teacher_logits
        todo = [run for run in self.runs if not is_finished(self.store, run)]
        shared = (self._inputs[0], self.store.url, self.config.device, threads)
        done = 0
        for index, progress in engine(run_in_worker, todo, shared):
            yield Stage(_title(todo[index]), done + 1, len(todo), progress)
            done += progress is None
        self.write()

    def write(self) -> None:
        """Write tree.parquet and tree_nodes.parquet from the finished trainings."""
        rows, nodes = [*self._label_rows(), *self._teacher_rows()], []
        for run in self.runs:
            if not is_finished(self.store, run):
                continue
            model = read_weights(self.store, run, len(self.experiment.classes))
            rows += self._rows(run, model)
            if isinstance(model, SoftTree) and run.config.seed == self.seeds[0]:
                nodes += node_rows(model, run.role, run.config.seed, self._leaf_shares(model))
        about = {"config": self.config.to_json(), "backbone": self.backbone, "train_samples": len(self._train)}
        write_nodes(self.experiment, nodes)
        TABLE.write(self.experiment, rows, about)

    # the teacher ------------------------------------------------------------------------------------------------------

    @cached_property
    def teacher_logits(self) -> dict[str, Tensor]:
        """Split -> logits of the experiment's teacher, computed once for all studies with this store."""
        return {name: self._logits_of_teacher(name, samples) for name, samples in self.splits.items()}

    def _logits_of_teacher(self, split: str, samples: LabelledImages) -> Tensor:
        name = self._teacher_key
        if split != Split.TRAIN:
            name = f"{self._own_teacher}/logits-{split}-{samples.fingerprint[:16]}.npy"
        try:
            return read_array(self.store, name)
        except KdvizError:  # missing or damaged: it is computed again
            pass
        stored = None if split == Split.TRAIN else self._stored_logits_of_teacher(split, samples)
        if stored is not None:
            return stored
        network = self.experiment.runs[Role.TEACHER].on(choose_device(self.config.device))
        # Those of the training samples are only learned from; reported ones must not depend on bfloat16.
        bf16 = "auto" if split == Split.TRAIN else "off"
        logits = predict_logits(network, samples, self.experiment.input.normalise, device=self.config.device, bf16=bf16)
        write_array(self.store, name, logits)
        return logits

    def _stored_logits_of_teacher(self, split: str, samples: LabelledImages) -> Tensor | None:
        """Those of predictions.parquet, which every page shows; None where it has none of these samples."""
        if not self.experiment.has_table("predictions"):
            return None
        try:
            known = read_predictions(self.experiment.table("predictions", COLUMNS), split)
            if Role.TEACHER not in known.predicted or not np.array_equal(known.labels, samples.labels.numpy()):
                return None
            logits = stored_logits(self.experiment, split, roles=[Role.TEACHER])
        except ExperimentError:
            return None
        return torch.from_numpy(logits[Role.TEACHER])

    # rows -------------------------------------------------------------------------------------------------------------

    def _label_rows(self) -> list[Row]:
        return [
            {"role": LABEL, "split": split, "samples": len(samples), "predicted": samples.labels.tolist()}
            for split, samples in self._measured.items()
            if split != Split.VALIDATION
        ]

    def _teacher_rows(self) -> list[Row]:
        run = self.experiment.runs[Role.TEACHER]
        about = {"run": self._own_teacher, "role": Role.TEACHER, "network": run.network}
        return [{**about, **self._figures(split, self.teacher_logits[split], None)} for split in self._measured]

    def _rows(self, run: TrainingRun, model: torch.nn.Module) -> list[Row]:
        result = read_result(self.store, run.identity)
        assert result is not None, "a run is complete when its weights can be read"
        about: Row = {"run": run.identity, "role": run.role, "network": run.network, "seed": run.config.seed}
        about["seconds"] = sum(epoch["seconds"] for epoch in result["curves"])
        about["weights"] = int(decision_weights(model).count_nonzero())
        if isinstance(model, SoftTree):
            about["depth"] = model.depth
        rows = []
        for split in self._measured:
            logits = read_array(self.store, f"{run.identity}/logits-{split}.npy")
            figures = self._figures(split, logits, self.teacher_logits[split])
            rows.append({**about, **figures, **self._path_figures(model, split, logits)})
        return rows

    def _figures(self, split: str, logits: Tensor, teacher: Tensor | None) -> Row:
        metrics: Row = dict(model_metrics(logits, self.splits[split].labels, teacher))
        metrics["split"], metrics["samples"] = split, len(logits)
        if split != Split.VALIDATION:
            metrics["predicted"] = logits.argmax(1).tolist()
        return metrics

    def _path_figures(self, model: torch.nn.Module, split: str, logits: Tensor) -> Row:
        """How often the most probable path is right, and says what the mixture says; empty for no tree."""
        if not isinstance(model, SoftTree):
            return {}
        splits, spec = self._inputs
        samples = splits[split]
        probability, leaf = most_probable_leaves(model, samples, spec)
        said = model.leaf_probabilities().argmax(1)[leaf]
        return {
            "path_accuracy": float((said == samples.labels).double().mean()),
            "path_is_answer": float((said == logits.argmax(1)).double().mean()),
            "path_probability": float(probability.double().mean()),
            "leaves": len(leaf.unique()),
        }

    def _leaf_shares(self, tree: SoftTree) -> np.ndarray:
        """The share of the test samples whose most probable path ends at each leaf."""
        splits, spec = self._inputs
        _, leaf = most_probable_leaves(tree, splits[Split.TEST], spec)
        return torch.bincount(leaf, minlength=2**tree.depth).double().numpy() / len(leaf)


_BATCH = 1024  # samples whose path probabilities are in memory


@torch.no_grad()
def most_probable_leaves(tree: SoftTree, samples: LabelledImages, spec: InputSpec) -> tuple[Tensor, Tensor]:
    """The greatest path probability of each sample, float32 (N,), and its leaf, int64 (N,)."""
    parts = [tree.path_probabilities(spec.normalise(images)).max(1) for images in samples.images.split(_BATCH)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def decision_weights(model: torch.nn.Module) -> Tensor:
    """The weights that a reader of a model has to look at: of a tree's decisions, or of a linear classifier."""
    if isinstance(model, SoftTree):
        return model.decisions.weight
    assert isinstance(model, SparseLinear)
    return model.weight


def _title(run: TrainingRun) -> str:
    return f"{run.network}, {'with' if run.teacher else 'without'} teacher, seed {run.config.seed}"
