"""Making of one run from another: pruned, trained with int8 in mind, or quantised; saved when it is complete."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.compress.channels import prune_channels, require_prunable
from kdviz.compress.dependent_channels import prune_dependent_channels
from kdviz.compress.fake_quantisation import fake_quantised, int8_network
from kdviz.compress.int4 import int4_file
from kdviz.compress.onnx_export import dynamic_int8_file, exporter_problem, float_file, int8_file
from kdviz.compress.profile import CALIBRATION
from kdviz.compress.sparse_weights import hold_zeros, make_permanent, prune_two_of_four, prune_weights, zero_share
from kdviz.compress.transformer_units import has_attention, prune_transformer
from kdviz.core.errors import ModelError, SettingError
from kdviz.core.vocabulary import Role, Split
from kdviz.data import LabelledImages
from kdviz.data.shortcuts.planting import PlantedShortcut
from kdviz.distill.config import TrainingConfig
from kdviz.distill.experiment_trainer import ExperimentTrainer
from kdviz.distill.prediction import predict_logits
from kdviz.distill.sources import LabelBudget, ModelSource
from kdviz.distill.stages import Stage, making_stages, training_record, training_stages
from kdviz.distill.storage.interrupted import forget_unfinished
from kdviz.distill.storage.run_files import new_network, read_array, weights_of, write_array
from kdviz.distill.training import TrainingProgress
from kdviz.distill.transfer_sets.making import StudentData
from kdviz.experiment import Experiment, Run
from kdviz.models.narrowed import SHAPES
from kdviz.models.networks.library import WIDTHS, has_widths
from kdviz.studies.compression.names import CHANNELS, DYNAMIC, INT4, INT8, PRUNE, QAT, SEED, TWO_OF_FOUR, WEIGHTS
from kdviz.studies.compression.own_form import (
    add_file,
    add_network,
    built,
    example_of,
    for_experiment,
    own_inputs,
    own_targets,
)
from kdviz.studies.compression.steps import PlannedStep, Step, learned_from_teacher, lineage, sparsity_of, step_config

ORIGIN = "import"
"""Key of a training record under which an import says where a model is from; those made of it are from here."""

_MEASURED = 2000  # training pictures on which the importance of channels is measured
_BATCH = 250


@dataclass(frozen=True)
class Making:
    """What all steps of a command share.

    Attributes:
        experiment: It gets the runs.
        splits: ``train`` and ``validation`` of its data.
        given: Settings of trainings that the user gave, by name.
        device: A torch device, or ``auto``.
        with_teacher: Whether the experiment's teacher takes part in the training; None: if it did in the parent's.
    """

    experiment: Experiment
    splits: Mapping[str, LabelledImages]
    given: Mapping[str, Any]
    device: str = "auto"
    with_teacher: bool | None = None

    def check(self, planned: list[PlannedStep]) -> None:
        """Refuse what would fail later, before anything is trained.

        Raises:
            SettingError: A tool is missing, channels cannot be pruned, there is no teacher, or too few classes.
        """
        run = self.experiment.runs[planned[0].parent]
        for each in planned:
            self._check_step(each.step, run)
        if any(each.step.trains for each in planned):
            self.teacher_of(run)

    def _check_step(self, step: Step, run: Run) -> None:
        if step.kind == PRUNE and step.pattern == CHANNELS:
            require_prunable(run.network, run.unadapted)
        elif step.kind == PRUNE and step.pattern == WEIGHTS and sparsity_of(self.experiment, run):
            _require_more(run, step.share)
        if step.kind in (QAT, INT8, INT4) and exporter_problem():
            raise SettingError(exporter_problem())
        if step.kind == QAT or (step.kind == INT8 and step.ranges != DYNAMIC):
            self.calibration(run)

    def calibration(self, run: Run) -> Tensor:
        """Inputs of a run's network, from pictures of the validation split, that the ranges of int8 are measured on.

        Raises:
            SettingError: They are all of one class.
        """
        samples = self.splits[Split.VALIDATION]
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:CALIBRATION]
        if len(samples.labels[order].unique()) < 2:
            raise SettingError(
                "The validation pictures that int8 would find its ranges on are all of one class; name data whose "
                "validation split has more."
            )
        return own_inputs(self.experiment, run, samples.images[order])

    def teacher_of(self, run: Run) -> nn.Module | None:
        """The teacher of a step's training; None: it learns from the labels alone.

        Raises:
            SettingError: A teacher is asked for, and there is none.
        """
        if not (learned_from_teacher(self.experiment, run) if self.with_teacher is None else self.with_teacher):
            return None
        teacher = self.experiment.models.get(Role.TEACHER)
        if teacher is None or run.role == Role.TEACHER:
            raise SettingError(
                "There is no teacher to learn from beside '{role}'; leave it away with --no-teacher.", role=run.role
            )
        return teacher.model


def _require_more(run: Run, share: float) -> None:
    """Refuse to prune fewer weights of a run than are 0 already."""
    already = zero_share(run.unadapted)
    if share <= already:
        raise SettingError(
            "{already:.1%} of the weights of '{role}' are 0 already; name a larger share than that to prune more.",
            already=already,
            role=run.role,
        )


def make_run(making: Making, planned: PlannedStep, number: int = 1, count: int = 1) -> Iterator[Stage]:
    """Make the run of a step, and save the experiment with it; it has no metrics yet.

    Until the run is complete nothing in the experiment's folder changes but ``runs/``.

    Args:
        making: What all steps share.
        planned: The step.
        number, count: Of the step among those of the command.

    Raises:
        KdvizError: A tool cannot do it, or the training fails; the text says why.
    """
    if not planned.step.trains:
        yield Stage(planned.role, number, count, None)
        _add_quantised(making, planned)
    else:
        yield from _train(making, planned, number, count)
    run = making.experiment.runs[planned.role]
    run.parent, run.made_by = planned.parent, planned.step.made_by
    making.experiment.save()
    forget_unfinished(making.experiment.folder)


# steps that train -----------------------------------------------------------------------------------------------------


def _train(making: Making, planned: PlannedStep, number: int, count: int) -> Iterator[Stage]:
    experiment, step = making.experiment, planned.step
    run = experiment.runs[planned.parent]
    config = step_config(run, step, {**making.given, "device": making.device})
    trainer, teacher = _trainer(making, run, config), making.teacher_of(run)
    is_student = lineage(experiment, run)[-1].role != Role.TEACHER
    trainer.train = trainer.train if is_student else trainer.teacher_train  # they may differ by a planted shortcut
    network, settings = _beginning(making, planned, config, trainer.train, teacher)
    data, whole = StudentData(trainer.train, trainer.validation), for_experiment(experiment, run, network)
    teachers = () if teacher is None else (teacher,)
    if teachers:
        made = _taught(trainer, teachers[0], config, run.network)
        data = yield from making_stages(planned.role, number, count, made)
    steps = trainer.fit(planned.role, whole, data, config, teachers)
    yield from training_stages(planned.role, number, count, steps)
    _require_finite(planned.role, network)
    record = training_record(config, data.training, data.validation, distilled=bool(teachers))
    record |= trainer.provenance(ModelSource(run.network))
    record |= trainer.planted(distilled=bool(teachers), is_student=is_student)
    if step.kind == QAT:
        content = float_file(int8_network(network), example_of(run))
        add_file(experiment, planned.role, content, run, record)
        return
    make_permanent(network)
    add_network(experiment, planned.role, network, run, record, settings)


def _require_finite(role: str, network: nn.Module) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise ModelError(
            "The training of '{role}' went astray: its weights are not finite. Nothing of it is kept; name a smaller "
            "--learning-rate.",
            role=role,
        )


def _taught(
    trainer: ExperimentTrainer, teacher: nn.Module, config: TrainingConfig, network: str
) -> Generator[TrainingProgress, None, StudentData]:
    """The data with the teacher's answers; those on unchanged pictures are kept in ``runs/``, for the next step."""
    if config.needs_teacher_network:
        return (yield from trainer.kd_data([teacher], None, network))
    of = hashlib.sha256(weights_of(teacher)).hexdigest()[:16]
    name = f"compression/{of}-{trainer.train.fingerprint[:16]}.npy"
    if not trainer.store.has(name):
        logits = predict_logits(teacher, trainer.train, trainer.spec.normalise, device=config.device, bf16=config.bf16)
        write_array(trainer.store, name, logits)
    return StudentData(trainer.train, trainer.validation, read_array(trainer.store, name))


def _trainer(making: Making, run: Run, config: TrainingConfig) -> ExperimentTrainer:
    experiment = making.experiment
    return ExperimentTrainer(
        making.splits,
        experiment.input,
        experiment.folder,
        config,
        LabelBudget(int(run.training.get("labelled", 0))),
        PlantedShortcut.from_records([run.training]),
    )


def _beginning(
    making: Making, planned: PlannedStep, config: TrainingConfig, train: LabelledImages, teacher: nn.Module | None
) -> tuple[nn.Module, dict[str, Any]]:
    """The network before its training, and the settings that it is built with."""
    run, step = making.experiment.runs[planned.parent], planned.step
    if step.kind == SEED:
        return new_network(run.network, run.spec, run.n_classes, config.seed), run.settings
    network, settings = rebuilt(run), run.settings
    if step.kind == PRUNE and step.pattern == CHANNELS:
        network, settings = _narrower(making.experiment, run, step.share, train, teacher)
    if step.kind == QAT:
        network = fake_quantised(network, making.calibration(run))
    if sparsity_of(making.experiment, run):
        hold_zeros(network)
    if step.kind == PRUNE and step.pattern != CHANNELS:
        prune_two_of_four(network) if step.pattern == TWO_OF_FOUR else prune_weights(network, step.share)
    return network, settings


def rebuilt(run: Run) -> nn.Module:
    """A run's network with its weights, of which those can be trained that its builder says."""
    network = built(run)
    network.load_state_dict(copy.deepcopy(run.unadapted.state_dict()))
    return network.eval()


def _narrower(
    experiment: Experiment, run: Run, share: float, train: LabelledImages, teacher: nn.Module | None
) -> tuple[nn.Module, dict[str, Any]]:
    """The network without its least important channels."""
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:_MEASURED]
    seen = experiment.input.normalise(train.images[chosen])
    targets = train.labels[chosen]
    if teacher is not None:
        with torch.no_grad():
            targets = torch.cat([teacher(batch).float().softmax(1) for batch in seen.split(_BATCH)])
    inputs, targets = own_inputs(experiment, run, train.images[chosen]), own_targets(run, targets)
    if has_widths(run.network):
        chain = prune_channels(run.unadapted, share, inputs, targets)
        narrow, state = replace(run, settings={**run.settings, WIDTHS: chain.widths}), chain.state
    else:
        whole = replace(run, settings={name: value for name, value in run.settings.items() if name != SHAPES})
        prune = prune_transformer if has_attention(run.unadapted) else prune_dependent_channels
        pruned = prune(run.unadapted, partial(built, whole), share, inputs, targets)
        narrow, state = replace(whole, settings={**whole.settings, SHAPES: pruned.shapes}), pruned.state
    network = built(narrow)
    network.load_state_dict(state)
    return network.eval(), narrow.settings


# quantising without training ------------------------------------------------------------------------------------------


def _add_quantised(making: Making, planned: PlannedStep) -> None:
    """Quantise a run without training."""
    run = making.experiment.runs[planned.parent]
    content = _quantised(making, run, planned.step, float_file(run.unadapted, example_of(run)))
    record = {name: value for name, value in run.training.items() if name != ORIGIN}
    add_file(making.experiment, planned.role, content, run, record)


def _quantised(making: Making, run: Run, step: Step, content: bytes) -> bytes:
    if step.kind == INT4:
        return int4_file(content)
    if step.ranges == DYNAMIC:
        return dynamic_int8_file(content)
    return int8_file(content, making.calibration(run))
