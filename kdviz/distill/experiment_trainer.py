"""The runs of an experiment: a teacher or several, the KD student, the same student trained alone."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.core.files import Store, require_writable
from kdviz.core.moved import renamed, renamed_arguments
from kdviz.core.processes.folder_lock import writing_within
from kdviz.core.vocabulary import Role, Split
from kdviz.data import LabelledImages
from kdviz.data.doubts import Doubt, of_data
from kdviz.data.sets import mnist
from kdviz.data.shortcuts.planting import KEY as PLANTED
from kdviz.data.shortcuts.planting import PlantedShortcut
from kdviz.distill.beginnings import freeze_untrained, require_image_size, require_layers
from kdviz.distill.checks import teacher_doubts
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.losses import pooled_logits
from kdviz.distill.prediction import predict_logits
from kdviz.distill.sources import LabelBudget, ModelSource, labelled_part
from kdviz.distill.stages import Stage, concatenate, doubt_stages, planted_record
from kdviz.distill.storage.interrupted import UnfinishedTrainings, forget_unfinished
from kdviz.distill.storage.run_files import weights_of
from kdviz.distill.storage.teacher_explanations import teacher_explanations
from kdviz.distill.storage.training_run import teacher_key
from kdviz.distill.storage.view_logits import of_several, view_logits
from kdviz.distill.teaching.experiment_runs import ExperimentRuns, Member
from kdviz.distill.teaching.mutual import fit_together
from kdviz.distill.teaching.settings import PREVIOUS, Teaching, chain, check_teaching, seeds_apart, teacher_role
from kdviz.distill.training import TrainingProgress, fit
from kdviz.distill.transfer import Backbone, frozen_backbone
from kdviz.distill.transfer_sets.making import StudentData, TransferSource, check_transfer_sets, transfer_data
from kdviz.experiment import Experiment, InputSpec
from kdviz.experiment.out_folder import require_experiment_or_nothing

MNIST_INPUT = InputSpec(**mnist.INPUT)
"""Values in [0, 1] as the paper's networks take them, so that 0 is black."""


@renamed_arguments(few="label_budget")
def train_experiment(
    splits: Mapping[str, LabelledImages],
    spec: InputSpec,
    dataset: str,
    out: str | Path,
    config: TrainingConfig,
    *,
    teachers: Sequence[ModelSource],
    student: ModelSource,
    teacher_config: TrainingConfig | None = None,
    teacher_logits: Tensor | None = None,
    label_budget: LabelBudget | None = None,
    shortcut: PlantedShortcut | None = None,
    teaching: Teaching | None = None,
    title: str = "",
    keep_unfinished: bool = False,
) -> Iterator[Stage]:
    """Train the models of an experiment and write them to ``out``, without figures.

    An existing experiment is replaced; its tables are kept under another name if it had another teacher.
    An interrupted training continues after its last whole epoch when this is called again with the same data and
    settings, and ends with the same weights; see :mod:`kdviz.distill.storage.interrupted`.

    Doubts about the data, or about a teacher's predictions on the validation split (on the training samples where only
    its logits are known), are yielded as a stage of their own before the students are trained, and are kept in the
    training records under ``doubts``.

    The teacher's logits of the training samples are computed once, unless the recipe changes the images or compares
    features. Both students start from the same weights and see the samples in the same order; they differ by the loss
    alone, and by pseudo-labels if there are any. Where only heads are trained, features are computed once and kept.

    Args:
        splits: ``train`` and ``validation``; others are ignored.
        spec: Specification of the networks' input.
        dataset: Name of the data set.
        out: The experiment's folder.
        config: The recipe of the students; what concerns the teacher applies to the KD student, and
            ``label_smoothing`` to the students: a teacher trained with it teaches less (Müller et al., 2019).
        teachers: Several have the roles ``teacher``, ``teacher_2``... and separate seeds, from the teachers' seed
            on; the KD student learns from their mean. None where ``teacher_logits`` are given.
        student: The network and initial weights of both students.
        teacher_config: The recipe of the teachers; default: that of the students.
        teacher_logits: Logits of the training samples from a teacher that cannot be shared, (len(train), classes).
        label_budget: How many labels are used, and what is done with the other samples.
        shortcut: A mark that is planted into training pictures and goes with the class; the validation split stays
            clean. The runs that saw it have it in their training records.
        teaching: Who teaches the KD student, if not the teachers alone: assistants, generations, or all at the same
            time; see :class:`kdviz.distill.teaching.settings.Teaching`.
        title: A heading for the experiment.
        keep_unfinished: Keep the states of the finished trainings, for a caller that has more to do before the
            experiment is complete, and that removes them with
            :func:`kdviz.distill.storage.interrupted.forget_unfinished`.

    Raises:
        SettingError: The settings contradict each other; the text says which.
        ModelError: Weights do not fit, or training fails.
        KdvizError: ``out`` cannot be written.
    """
    trainer = ExperimentTrainer(splits, spec, out, config, label_budget or LabelBudget(), shortcut)
    experiment = Experiment(Path(out), dataset, trainer.train.classes, spec, {}, title=title)
    experiment.check()
    teaching = teaching or Teaching()
    check_teaching(teaching, config, teachers, student, teacher_logits, trainer.label_budget, shortcut)
    check_transfer_sets([config.transfer_set], config.transfer_steps, spec)
    require_experiment_or_nothing(out)
    fresh = trainer.build_network(student, config, Role.STUDENT)

    # All are built now, so that a mistake in any of them is reported before anything is trained.
    links = chain(teaching, student, config, len(teachers))
    chained = [trainer.member(link.role, link.source, link.config) for link in links]
    first = seeds_apart(teachers, student)
    recipes = [(teacher_config or config).for_teacher(number + first) for number in range(len(teachers))]
    roles = [teacher_role(number) for number in range(1, len(teachers) + 1)]
    members = [trainer.member(*each) for each in zip(roles, teachers, recipes, strict=True)]
    if config.feature_loss:
        networks = [member.network for member in (*members[:1], *chained)]
        for network, taught in pairwise((*networks, fresh)):
            require_layers(taught, network, spec, config)
    with writing_within(out):
        require_writable(out)  # the last of the checks, so that what is refused leaves no empty folder
        count = 2 if teaching.mutual else len(members) + len(links) + 2
        runs = ExperimentRuns(trainer, experiment, count, of_data(splits), logits=teacher_logits)
        yield from doubt_stages("data", 0, count, runs.doubts)
        kd_config = replace(config, teacher_mixture=()) if links else config
        kd_student = Member(Role.KD_STUDENT, student, kd_config, copy.deepcopy(fresh))
        if teaching.mutual:
            yield from runs.train_together([*members, kd_student])
        else:
            for member in members:
                yield from runs.train_teacher(member)
            yield from runs.doubt_logits()
            for member, link in zip(chained, links, strict=True):
                yield from runs.train_link(member, link)
        start = trainer.keep_start(fresh) if student.weights is not None else ""
        if not teaching.mutual:
            yield from runs.train_student(kd_student, start, continues=teaching.generation_start == PREVIOUS)
        yield from runs.train_student(Member(Role.STUDENT, student, config, fresh), start)
        experiment.set_aside_tables()
        experiment.save()
        if not keep_unfinished:
            forget_unfinished(out)


class ExperimentTrainer:
    """The data, store and settings that all trainings of an experiment share, and the trainings themselves."""

    def __init__(
        self,
        splits: Mapping[str, LabelledImages],
        spec: InputSpec,
        out: str | Path,
        config: TrainingConfig,
        label_budget: LabelBudget,
        shortcut: PlantedShortcut | None = None,
    ):
        self.spec, self.label_budget, self.store = spec, label_budget, Store(Path(out) / "runs")
        self._shortcut = shortcut
        self._config, self._backbones = config, dict[int, Backbone]()  # of trained networks, by the id of the network
        self.validation = splits[Split.VALIDATION]
        self.train, self._unlabelled = splits[Split.TRAIN], None
        self._data = self.train.fingerprint[:16]
        self._unfinished = UnfinishedTrainings(self.store, self._inputs(splits))
        if label_budget.samples:
            labelled, unlabelled = labelled_part(self.train, label_budget.samples, config.seed)
            self._unlabelled = splits[Split.TRAIN].take(unlabelled)
            self.train = self.train.take(labelled)
        self.teacher_train = self.train
        if shortcut is not None:
            self.teacher_train, self.train = shortcut.for_teacher(self.train), shortcut.for_students(self.train)

    def _inputs(self, splits: Mapping[str, LabelledImages]) -> dict[str, Any]:
        """Everything that decides the result of a training, except for networks and recipes."""
        unlabelled = self.label_budget.unlabelled
        return {
            "data": {split: splits[split].fingerprint for split in (Split.TRAIN, Split.VALIDATION)},
            "input": self.spec.to_json(),
            "few": [self.label_budget.samples, self.label_budget.pseudo_labels, self._config.seed],
            "unlabelled": "" if unlabelled is None else unlabelled.fingerprint,
            **({} if self._shortcut is None else {PLANTED: self._shortcut.to_json()}),
        }

    @property
    def classes(self) -> int:
        return len(self.train.classes)

    def provenance(self, origin: ModelSource) -> dict[str, Any]:
        """Fields of the training record on the samples and the weights that a network began with."""
        record: dict[str, Any] = {"data": self._data} | ({"weights_from": origin.source} if origin.source else {})
        if self.label_budget.samples:
            record["labelled"] = self.label_budget.samples
        if self.label_budget.pseudo_labels is not None:
            record["pseudo_labels"] = self.label_budget.pseudo_labels
        return record

    def planted(self, *, distilled: bool, is_student: bool) -> dict[str, Any]:
        """The field of a training record on a shortcut, which a transfer set does not have."""
        saw_it = not (distilled and self._config.has_own_pictures)
        return planted_record(self._shortcut if saw_it else None, is_student=is_student)

    def build_network(self, origin: ModelSource, config: TrainingConfig, role: str) -> nn.Module:
        """Build a network with its initial weights.

        Raises:
            ModelError: It does not take the experiment's images, or not its weights.
            SettingError: Some of its weights would stay random.
        """
        network, missing = origin.build(self.spec, self.classes, config.seed)
        require_image_size(network, self.spec, origin.name)
        if not origin.trained:
            freeze_untrained(network, self.spec, config.trainable, missing, role)
        return network

    def member(self, role: str, origin: ModelSource, config: TrainingConfig) -> Member:
        """A network of the experiment with its initial weights; errors as of :meth:`build_network`."""
        return Member(role, origin, config, self.build_network(origin, config, role))

    def fit(
        self,
        role: str,
        network: nn.Module,
        data: StudentData,
        config: TrainingConfig,
        teachers: Sequence[nn.Module] = (),
        logits: Tensor | None = None,
    ) -> Iterator[TrainingProgress]:
        """Train a network, or its head on features that are computed once; continue where it was interrupted.

        Args:
            role: Role of the network.
            network: Network with its initial weights.
            data: Its samples, and the teachers' logits of them.
            config: The recipe.
            teachers: The networks that made these logits.
            logits: Logits that were given in place of a teacher.
        """
        checkpoint = self._unfinished.checkpoint(role, network, config, teachers, logits)
        backbone = frozen_backbone(network, self.spec, self.store, config)
        if backbone is None:
            normalise, live = self.spec.normalise, teachers if config.needs_live_teacher else ()
            key, asked = (self._key(teachers[0]), lambda: teachers[0]) if teachers else ("", None)
            explanations = teacher_explanations(asked, normalise, config, self.store, key, data.training)
            more = {"teachers": live, "explanations": explanations, "checkpoint": checkpoint}
            yield from fit(network, data.training, data.validation, normalise, config, data.logits, **more)
            return
        head = backbone.linear_head()
        training, validation = (backbone.as_samples(samples) for samples in (data.training, data.validation))
        normalise = backbone.head_spec().normalise
        yield from fit(head, training, validation, normalise, config, data.logits, checkpoint=checkpoint)
        backbone.set_head(head)
        self._backbones[id(network)] = backbone

    def fit_together(
        self, roles: Sequence[str], networks: Sequence[nn.Module], configs: Sequence[TrainingConfig]
    ) -> Iterator[tuple[TrainingProgress, ...]]:
        """Train networks at the same time, each as a student of the others; continue where it was interrupted."""
        own = [[role, config.learning_rate, config.trainable] for role, config in zip(roles, configs, strict=True)]
        checkpoint = self._unfinished.checkpoint(json.dumps(own), networks[-1], configs[-1], networks[:-1])
        data = self.train, self.validation, self.spec.normalise
        yield from fit_together(networks, *data, configs, checkpoint=checkpoint)

    def validation_doubts(self, role: str, network: nn.Module, *, pretrained: bool) -> list[Doubt]:
        """What looks wrong with a teacher's predictions on the validation split."""
        logits = self._logits_of(network, self.validation)
        return teacher_doubts(role, network, logits, self.validation, self.spec if pretrained else None)

    def kd_data(
        self, networks: Sequence[nn.Module], logits: Tensor | None, student: str
    ) -> Generator[TrainingProgress, None, StudentData]:
        """What the KD student is trained on: a transfer set, or the samples, with pseudo-labelled ones.

        Args:
            networks: The teachers.
            logits: Logits that were given in their place.
            student: Name of the student's network.
        """
        if logits is not None:
            return StudentData(self.train, self.validation, logits)
        if self._config.has_own_pictures:
            source = TransferSource(
                lambda: networks[0], self._key(networks[0]), self.spec, student, self._config, self.train
            )
            data = yield from transfer_data(source, self.store)
            training, validation, soft = data.training, data.validation, data.logits
        else:
            (training, soft), validation = self._with_pseudo_labels(networks), self.validation
        if self._config.needs_live_teacher:
            soft = None
        elif self._config.views:
            soft = of_several([self._view_logits(network, training) for network in networks])
        return StudentData(training, validation, soft)

    @staticmethod
    def _key(teacher: nn.Module) -> str:
        """The name of a teacher's logits in the store."""
        return teacher_key(hashlib.sha256(weights_of(teacher)).hexdigest()[:16])

    def _view_logits(self, network: nn.Module, training: LabelledImages) -> list[Tensor]:
        name = self._key(network).removesuffix(".npy")
        return view_logits(lambda: network, name, training, self.spec.normalise, self._config, self.store)

    def _with_pseudo_labels(self, networks: Sequence[nn.Module]) -> tuple[LabelledImages, Tensor | None]:
        asks_later = self._config.needs_live_teacher or self._config.views
        soft = None if asks_later else self._teacher_logits(networks, self.train)
        budget = self.label_budget
        pool = [samples for samples in (self._unlabelled, budget.unlabelled) if samples is not None and len(samples)]
        if budget.pseudo_labels is None or not pool:
            return self.train, soft
        training = self.train
        for unlabelled in pool:
            teacher_logits = self._teacher_logits(networks, unlabelled)
            mean = teacher_logits
            if teacher_logits.ndim == 3:
                mean = pooled_logits(teacher_logits, 1.0, self._config.teacher_mixture)
            confidence, pseudo_labels = mean.softmax(1).max(1)
            confident = confidence >= budget.pseudo_labels
            training = concatenate(training, replace(unlabelled, labels=pseudo_labels).take(confident))
            soft = None if soft is None else torch.cat([soft, teacher_logits[..., confident, :]], dim=-2)
        return training, soft

    def _teacher_logits(self, networks: Sequence[nn.Module], samples: LabelledImages) -> Tensor:
        logits = [self._logits_of(network, samples) for network in networks]
        return logits[0] if len(logits) == 1 else torch.stack(logits)

    def _logits_of(self, network: nn.Module, samples: LabelledImages) -> Tensor:
        if id(network) in self._backbones:
            return self._backbones[id(network)].logits(samples)
        return predict_logits(network, samples, self.spec.normalise, device=self._config.device, bf16=self._config.bf16)

    def keep_start(self, network: nn.Module) -> str:
        """Keep the weights that the students begin with, for later studies; return their name in the store."""
        content = weights_of(network)
        name = f"start/{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        self.store.write(name, content)
        return name


__getattr__ = renamed(__name__, {"Few": "LabelBudget", "Origin": "ModelSource"})
