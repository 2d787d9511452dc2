"""The trainings of a search: students of any settings, from one teacher whose logits are computed once."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdviz.compress.operations import operations_of
from kdviz.compress.timing import time_ratio
from kdviz.core.errors import ModelError, SettingError
from kdviz.core.files import Store
from kdviz.core.vocabulary import Split
from kdviz.data import LabelledImages
from kdviz.distill import TrainingConfig
from kdviz.distill.runs import execute_run
from kdviz.distill.storage.run_files import is_finished, new_network, read_array, read_result, read_weights
from kdviz.distill.storage.training_run import TrainingRun
from kdviz.distill.training import TrainingProgress
from kdviz.experiment import Experiment
from kdviz.models.networks import networks
from kdviz.models.networks.library import WIDTHS, has_widths
from kdviz.studies.predictions.evaluation import model_metrics
from kdviz.studies.search.space import WIDTH, applied
from kdviz.studies.sweep.runner import Sweep

Engine = Callable[..., Iterator[tuple[int, Any]]]
_FAILURE = "failed.json"


def train_or_record(
    run: TrainingRun, splits: Mapping[str, LabelledImages], results: str, device: str, threads: int
) -> Iterator[TrainingProgress]:
    """Execute a run; one whose settings cannot be trained leaves the reason in the store, and raises nothing."""
    store = Store(results)
    try:
        yield from execute_run(run, splits, store, device, threads)
    except (ModelError, SettingError) as error:
        store.write(f"{run.identity}/{_FAILURE}", json.dumps(str(error)).encode())


def part_of(splits: Mapping[str, LabelledImages], count: int) -> dict[str, LabelledImages]:
    """The splits with ``count`` of the training samples: always the same random ones.

    Raises:
        SettingError: There are not as many.
    """
    training = splits[Split.TRAIN]
    if count > len(training):
        raise SettingError("There are {n} training samples, not {count}.", n=len(training), count=count)
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))
    return {**splits, Split.TRAIN: training.take(order[:count].sort().values)}


@dataclass
class Trainings:
    """The trainings of one search.

    Args:
        experiment: An experiment with a teacher and a KD student.
        splits: All splits of its data.
        config: The default recipe.
        results: Folder of the runs' files; default ``runs`` in the experiment's folder.
        threads: Threads of torch in each training; 0: the default.

    Raises:
        KdvizError: As for :class:`kdviz.studies.sweep.runner.Sweep`.
    """

    experiment: Experiment
    splits: Mapping[str, LabelledImages]
    config: TrainingConfig
    results: str | Path | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        self._sweep = Sweep(
            self.experiment,
            "temperature",
            self.splits,
            [4.0],
            [self.config.seed],
            replace(self.config, temperature=4.0),
            self.results,
            weights_only=True,
        )
        self.store = self._sweep.store

    @property
    def network(self) -> str:
        return self._sweep.plan.network

    @property
    def teacher(self) -> str:
        """The beginning of the SHA-256 of the teacher's weights."""
        return self._sweep.plan.own_teacher

    @property
    def data(self) -> str:
        """Fingerprint of the data."""
        return self._sweep.plan.data

    @property
    def about(self) -> dict[str, str]:
        """What all tables of one search have in common; what they lack is of another search."""
        return {"network": self.network, "teacher": self.teacher, "data": self.data}

    @property
    def training_samples(self) -> int:
        return len(self.samples(Split.TRAIN))

    def run(self, settings: Mapping[str, Any], seed: int) -> TrainingRun:
        """The training of some settings, whose identity is that of the same training in a sweep.

        Raises:
            SettingError: The settings do not fit together, or the student cannot be built in this width.
        """
        config = applied(self.config, settings, seed)
        plan = replace(self._sweep.plan, config=config)
        return replace(plan.student(seed, config.temperature), widths=self._widths(settings[WIDTH]))

    def _widths(self, factor: float) -> tuple[int, ...]:
        if factor == 1:
            return ()
        if not has_widths(self.network):
            raise SettingError("The network '{network}' has no widths; leave --width at 1.", network=self.network)
        return tuple(max(1, round(width * factor)) for width in self._own_widths)

    @cached_property
    def _own_widths(self) -> tuple[int, ...]:
        """Outputs of the student's layers but the last, in its own width."""
        declared = inspect.signature(networks[self.network]).parameters[WIDTHS].default
        if declared:
            return tuple(declared)
        spec = self._sweep.plan.student(self.config.seed).spec  # they depend on the input
        network = new_network(self.network, spec, len(self.experiment.classes), 0)
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        return tuple(len(layer.weight) for layer in layers[:-1])

    def execute(self, runs: Sequence[TrainingRun], engine: Engine) -> Iterator[tuple[int, TrainingProgress | None]]:
        """Do what is left of the runs; yield (number, progress), and (number, None) when one is done."""
        if runs:
            self._sweep.store_teacher_logits(is_asked=any(run.teacher_network for run in runs))
        shared = (self._sweep.material.splits, self.store.url, self.config.device, self.threads)
        return engine(train_or_record, runs, shared)

    def is_done(self, run: TrainingRun) -> bool:
        return is_finished(self.store, run)

    def failure(self, run: TrainingRun) -> str:
        """Why a run could not be trained; empty unless it could not."""
        content = self.store.read(f"{run.identity}/{_FAILURE}")
        return json.loads(content) if content and not self.is_done(run) else ""

    def curves(self, run: TrainingRun) -> list[dict[str, Any]]:
        """The epochs of a finished run: ``epoch``, ``validation_accuracy``, ``seconds`` and more."""
        result = read_result(self.store, run.identity)
        return result["curves"] if result else []

    def seconds(self, run: TrainingRun) -> float:
        """Seconds of training of a finished run."""
        return sum(epoch["seconds"] for epoch in self.curves(run))

    def metrics(self, run: TrainingRun, split: str = Split.VALIDATION) -> dict[str, float]:
        """Figures of a finished run on a split."""
        logits = read_array(self.store, f"{run.identity}/logits-{split}.npy")
        return model_metrics(logits, self.samples(split).labels, self._sweep.teacher_logits[split])

    def right(self, run: TrainingRun, split: str = Split.TEST) -> torch.Tensor:
        """Bool (samples,): where a finished run is right."""
        logits = read_array(self.store, f"{run.identity}/logits-{split}.npy")
        return logits.argmax(1) == self.samples(split).labels

    def samples(self, split: str) -> LabelledImages:
        """The samples of a split, as the students see them."""
        return self._sweep.material.splits[split]

    def model(self, run: TrainingRun) -> nn.Module:
        """The trained network of a finished run."""
        return read_weights(self.store, run, len(self.experiment.classes))

    def mflop(self, run: TrainingRun) -> float:
        """Operations for one picture, in millions."""
        return operations_of(self.model(run), self._pictures[:1]).flops / 1e6

    def latency(self, run: TrainingRun) -> float:
        """Time of one picture on one CPU thread, over that of the student in its own width, measured beside it."""
        return time_ratio(self.model(run), self._reference, self._pictures[:1])

    @cached_property
    def _reference(self) -> nn.Module:
        """The student in its own width, untrained: its time does not depend on its weights."""
        spec = self._sweep.plan.student(self.config.seed).spec
        return new_network(self.network, spec, len(self.experiment.classes), 0).eval()

    @cached_property
    def _pictures(self) -> torch.Tensor:
        """A few inputs of the networks."""
        return self._sweep.plan.student(self.config.seed).spec.normalise(self.samples(Split.VALIDATION).images[:2])
