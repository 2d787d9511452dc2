"""The models of an attention study, as data that can be sent to any machine; and teachers with shuffled weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import nn

from kdviz.core.errors import ExperimentError
from kdviz.core.vocabulary import Role
from kdviz.data import LabelledImages
from kdviz.distill import TrainingConfig
from kdviz.distill.storage.run_files import read_weights, weights_of
from kdviz.distill.storage.training_run import TrainingRun
from kdviz.experiment import Experiment, InputSpec, Run
from kdviz.models.inputs import adapted
from kdviz.models.networks import ONNX, OnnxNetwork, build_network
from kdviz.studies.sweep.runner import STUDIES, Sweep

OWN = "models"
"""The study of the experiment's own models, without further trainings."""

SECOND = "second"
SHUFFLED = "shuffled"


@dataclass(frozen=True)
class Own:
    """The input that a network takes and the logits that it returns; see :class:`kdviz.experiment.Run`."""

    spec: InputSpec
    logits: int
    class_order: tuple[int, ...] | None = None
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class StudyModel:
    """One model of a study.

    Attributes:
        key: Its name in the study, ``T = 4, seed 1``.
        role: ``teacher``, ``kd_student``, ``student`` (alone), ``second`` (another student alone, which takes the KD
            student's place) or ``shuffled`` (a teacher with shuffled weights).
        network: Name of the network.
        content: Its weights, as safetensors.
        teacher: For a student or a shuffled teacher: the key of the teacher that it is compared with.
        study: ``models``, or the name in ``STUDIES`` of the sweep that trained it.
        value: The sweep's value with which it was trained.
        seed: Seed of the training, or of the shuffling.
        own: The network's own input and logits, where they are not the study's.
    """

    key: str
    role: str
    network: str
    content: bytes = field(repr=False)
    teacher: str = ""
    study: str = OWN
    value: float | str | None = None
    seed: int | None = None
    own: Own | None = None

    def build(self, spec: InputSpec, classes: int) -> nn.Module:
        """The model, in evaluation mode: pictures as ``spec`` normalises them -> logits (N, classes)."""
        own = self.own or Own(spec, classes)
        return adapted(self._network(own), spec, own.spec, own.class_order)

    def _network(self, own: Own) -> nn.Module:
        if self.network == ONNX:
            return OnnxNetwork(self.content, self.key).eval()
        network = build_network(
            self.network,
            classes=own.logits,
            channels=own.spec.channels,
            size=own.spec.size,
            settings=dict(own.settings),
        )
        network.load_state_dict(load_safetensors(self.content))
        network.eval().requires_grad_(False)
        return shuffled(network, self.seed or 0) if self.role == SHUFFLED else network

    @property
    def identity(self) -> str:
        """A hash of everything that its maps depend on, and of its role in the study."""
        parts = [self.key, self.role, self.network, self.teacher, self.study, self.value, self.seed]
        parts += [] if self.own is None else [repr(self.own)]
        return hashlib.sha256(json.dumps(parts).encode() + hashlib.sha256(self.content).digest()).hexdigest()


def shuffled(network: nn.Module, seed: int) -> nn.Module:
    """The network with the entries of each weight and bias in random order (Adebayo et al., 2018, section 4).

    Sizes and distributions of the weights stay while what was learned is lost: maps that look the same afterwards do
    not depend on it. The statistics of normalisation layers stay.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in network.parameters():
            permuted = weights.flatten()[torch.randperm(weights.numel(), generator=generator)]
            weights.copy_(permuted.view_as(weights))
    return network


def own_models(experiment: Experiment) -> list[StudyModel]:
    """The experiment's teacher, its KD student and, where there is one, its student alone.

    Raises:
        ExperimentError: The teacher or the KD student is missing, or a model is not stored.
    """
    roles = [
        Role.KD_STUDENT,
        *([Role.STUDENT] if Role.STUDENT in experiment.models or not experiment.is_imported else []),
    ]
    students = [own_model(experiment, role, role, Role.TEACHER) for role in roles]
    return [own_model(experiment, Role.TEACHER, Role.TEACHER, ""), *students]


def own_model(experiment: Experiment, role: str, key: str, teacher: str) -> StudyModel:
    """The experiment's model of a role.

    Args:
        experiment: The experiment.
        role: The role.
        key: Its name in the study.
        teacher: Key of the teacher that it is compared with; empty for the teacher.

    Raises:
        ExperimentError: There is no such model, or its weights are not stored.
    """
    run = experiment.models.get(role)
    if run is None or not run.weights.endswith((".safetensors", ".onnx") if experiment.is_imported else ".safetensors"):
        raise ExperimentError(
            "'{folder}' has no {role} with weights, which a study of attention needs.",
            folder=experiment.folder,
            role=role,
        )
    content = (experiment.folder / run.weights).read_bytes()
    value = run.training.get("temperature") if role == Role.KD_STUDENT else None
    seed = None if role == Role.TEACHER else int(run.training.get("seed", 0))
    model_input = None
    if run.is_adapted or run.settings:
        model_input = Own(run.spec, run.n_classes, run.class_order, tuple(sorted(run.settings.items())))
    return StudyModel(key, role, run.network, content, teacher, OWN, value, seed, model_input)


def sweep_for(
    experiment: Experiment,
    study: str,
    splits: Mapping[str, LabelledImages],
    values: Sequence[float] | None,
    seeds: Sequence[int],
    config: TrainingConfig,
    results: str | Path | None = None,
) -> Sweep:
    """The sweep whose students are studied; without ``values`` those that its table has, or the default ones."""
    kind = STUDIES[study]
    if values is None and experiment.has_table(kind.table):
        rows = experiment.table(kind.table).select(["role", kind.column]).to_pylist()
        values = sorted({row[kind.column] for row in rows if row["role"] == Role.KD_STUDENT})
    return Sweep(experiment, study, splits, values or kind.values(), seeds, config, results)


def swept_models(sweep: Sweep, second: Sequence[int] = ()) -> list[StudyModel]:
    """Teachers and students of a sweep whose runs are finished; the teachers come first.

    Args:
        sweep: A sweep of temperature, alpha, loss or teacher epochs.
        second: Seeds of further students alone, which take the place of KD students.

    Raises:
        ExperimentError: Its students are heads on features: they have no maps of pictures.
    """
    if sweep.material.spec != sweep.experiment.input:
        raise ExperimentError(
            "The students of '{folder}' are heads on features, whose weights alone make no maps; study "
            "its own models, with --study models.",
            folder=sweep.experiment.folder,
        )
    teachers = _teachers(sweep)
    students = [_student(sweep, value, run) for value, run in sweep.plan.student_runs]
    further = [replace(_student(sweep, None, sweep.plan.student(seed)), role=SECOND) for seed in second]
    return [*teachers, *students, *further]


def _teachers(sweep: Sweep) -> list[StudyModel]:
    if not sweep.plan.trains_teachers:
        return [_teacher_of(sweep.experiment)]
    return [
        StudyModel(
            _teacher_key(value, run.config.seed),
            Role.TEACHER,
            run.network,
            _weights(sweep, run, value),
            study=sweep.name,
            value=value,
            seed=run.config.seed,
        )
        for value in sweep.values
        for run in sweep.plan.teachers
    ]


def _teacher_of(experiment: Experiment) -> StudyModel:
    """The experiment's teacher; one without a weights file is a further one of :mod:`.teachers`."""
    run = experiment.runs[Role.TEACHER]
    if run.weights:
        return own_model(experiment, Role.TEACHER, Role.TEACHER, "")
    return StudyModel(
        further_key(run), Role.TEACHER, run.network, weights_of(run.model), study=OWN, seed=int(run.training["seed"])
    )


def further_key(run: Run) -> str:
    """The name in a study of a teacher that was trained for it."""
    return f"teacher, seed {run.training['seed']}"


def _teacher_key(value: Any, seed: int) -> str:
    return f"teacher of {value:g} epochs, seed {seed}"


def _student(sweep: Sweep, value: Any, run: TrainingRun) -> StudyModel:
    seed, content = run.config.seed, _weights(sweep, run, None)
    if value is None:
        return StudyModel(f"alone, seed {seed}", Role.STUDENT, run.network, content, "", sweep.name, None, seed)
    own_teacher = sweep.experiment.runs[Role.TEACHER]
    teacher = Role.TEACHER if own_teacher.weights else further_key(own_teacher)
    if sweep.plan.trains_teachers:
        teacher = _teacher_key(value, seed)
    key = f"{STUDIES[sweep.name].shown(value)}, seed {seed}"
    return StudyModel(key, Role.KD_STUDENT, run.network, content, teacher, sweep.name, value, seed)


def _weights(sweep: Sweep, run: TrainingRun, epoch: int | None) -> bytes:
    return weights_of(read_weights(sweep.store, run, len(sweep.experiment.classes), epoch))


def shuffles(teacher: StudyModel, seeds: Sequence[int]) -> list[StudyModel]:
    """The teacher with shuffled weights, once for each seed; empty for an ONNX file, which cannot be shuffled."""
    if teacher.network == ONNX:
        return []
    return [
        StudyModel(
            f"{teacher.key} shuffled, seed {seed}",
            SHUFFLED,
            teacher.network,
            teacher.content,
            teacher.key,
            teacher.study,
            teacher.value,
            seed,
            teacher.own,
        )
        for seed in seeds
    ]
