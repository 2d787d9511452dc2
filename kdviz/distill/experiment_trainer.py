"""The runs of an experiment: a teacher or several, the KD student, the same student trained alone."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.core.errors import ModelError, SettingError
from kdviz.core.files import Store, require_writable
from kdviz.core.moved import renamed
from kdviz.data import LabelledImages
from kdviz.data.doubts import Doubt, of_data
from kdviz.data.sets import mnist
from kdviz.distill.checks import check_teacher, logits_doubts, teacher_doubts
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.layers import choose_layers, head_of
from kdviz.distill.objectives.losses import pooled_logits
from kdviz.distill.objectives.objective import freeze
from kdviz.distill.prediction import predict_logits
from kdviz.distill.sources import LabelBudget, ModelSource, labelled_part
from kdviz.distill.stages import (
    Stage,
    is_statistic,
    joined,
    recorded_doubts,
    stages_of_doubts,
    stages_of_training,
    training_record,
)
from kdviz.distill.storage.interrupted import Unfinished, forget_unfinished
from kdviz.distill.storage.run_files import weights_of
from kdviz.distill.training import TrainingProgress, fit
from kdviz.distill.transfer import Backbone, frozen_backbone
from kdviz.experiment import Experiment, InputSpec

MNIST_INPUT = InputSpec(**mnist.INPUT)
"""Values in [0, 1] as the paper's networks take them, so that 0 is black."""


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
    few: LabelBudget | None = None,
    title: str = "",
    keep_unfinished: bool = False,
) -> Iterator[Stage]:
    """Train the models of an experiment and write them to ``out``, without figures.

    An experiment that is there is replaced; its tables are kept under another name if its teacher was another.
    Training that was interrupted goes on after its last whole epoch when this is called again with the same data and
    settings, and ends with the same weights; see :mod:`kdviz.distill.storage.interrupted`.

    What looks wrong with the data, or with a teacher's answers to the validation split (to the training samples where
    only its logits are known), is said by a stage of its own before the students are trained, and is kept in the
    training records under ``doubts``.

    The teacher's logits of the training samples are computed once, unless the recipe changes the images or compares
    features. Both students start from the same weights and see the samples in the same order; they differ by the loss
    alone, and by pseudo-labels if there are any. Where only heads are trained, features are computed once and kept.

    Args:
        splits: ``train`` and ``validation``; others are left alone.
        spec: Of the networks' input.
        dataset: Its name.
        out: The experiment's folder.
        config: The recipe of the students; what concerns the teacher is the KD student's, and ``label_smoothing`` the
            students': a teacher trained with it teaches less (Müller et al., 2019).
        teachers: Several have the roles ``teacher``, ``teacher_2``... and each its own seed, from the teachers' seed
            on; the KD student learns from their mean. None where ``teacher_logits`` are given.
        student: What both students begin as.
        teacher_config: The recipe of the teachers; default the students'.
        teacher_logits: Answers to the training samples of a teacher that cannot be shared, (len(train), classes).
        few: Train with few labels.
        title: A heading for the experiment.
        keep_unfinished: Keep the states of the trainings when all are done, for a caller who has more to do before the
            experiment is complete, and who removes them with
            :func:`kdviz.distill.storage.interrupted.forget_unfinished`.

    Raises:
        SettingError: The settings contradict each other; the text says which.
        ModelError: Weights do not fit, or training fails.
        KdvizError: ``out`` cannot be written.
    """
    lab = ExperimentTrainer(splits, spec, out, config, few or LabelBudget())
    experiment = Experiment(Path(out), dataset, lab.train.classes, spec, {}, title=title)
    _check_teachers(config, teachers, teacher_logits, lab)
    fresh = lab.begun(student, config, "student")
    require_writable(out)
    count = len(teachers) + 2

    # All are built now: what is wrong with them is said before anything is trained.
    recipes = [_teacher_recipe(teacher_config or config, number) for number in range(len(teachers))]
    roles = [f"teacher_{number}" if number > 1 else "teacher" for number in range(1, len(teachers) + 1)]
    networks = [lab.begun(*each) for each in zip(teachers, recipes, roles, strict=True)]
    if config.feature_loss:
        lab.require_layers(fresh, networks[0])
    found = of_data(splits)
    yield from stages_of_doubts("data", 0, count, found)
    made = zip(teachers, recipes, roles, networks, strict=True)
    for number, (origin, own, role, network) in enumerate(made, 1):
        record: dict[str, Any] = {"weights_from": origin.source, "trained": False}
        if not origin.trained:
            yield from stages_of_training(role, number, count, lab.fit(role, network, lab.train, own))
            record = training_record(own, lab.train, splits["validation"], distilled=False)
            record |= lab.about(origin)
        check_teacher(network.eval().requires_grad_(False), experiment.classes, lab.train.classes)
        doubts = lab.doubts(role, network, given=origin.trained)
        yield from stages_of_doubts(role, number, count, doubts)
        experiment.add_run(role, origin.name, network, record | recorded_doubts([*doubts, *found]), {})
        found = []

    if teacher_logits is not None:
        doubts = logits_doubts("teacher", teacher_logits, lab.train)
        yield from stages_of_doubts("teacher", 0, count, doubts)
        found = [*doubts, *found]
    start = lab.keep_start(fresh) if student.weights is not None else ""
    for number, role in ((count - 1, "kd_student"), (count, "student")):
        distilled, network = role == "kd_student", copy.deepcopy(fresh)
        training, soft = lab.kd_training_set(networks, teacher_logits) if distilled else (lab.train, None)
        teachers_or_logits = (networks, teacher_logits) if distilled else ((), None)
        yield from stages_of_training(
            role, number, count, lab.fit(role, network, training, config, soft, *teachers_or_logits)
        )
        record = training_record(config, training, splits["validation"], distilled=distilled)
        record |= lab.about(student) | ({"start": start} if start else {}) | recorded_doubts(found)
        experiment.add_run(role, student.name, network, record, {})
        found = []
    experiment.set_aside_tables()
    experiment.save()
    if not keep_unfinished:
        forget_unfinished(out)


def _teacher_recipe(config: TrainingConfig, number: int) -> TrainingConfig:
    """What concerns a teacher's teacher means nothing to it, and smoothed labels would make it teach less."""
    return replace(config, seed=(config.seed + number) % 2**31, label_smoothing=0.0, feature_loss="")


def _check_teachers(
    config: TrainingConfig, teachers: Sequence[ModelSource], logits: Tensor | None, lab: ExperimentTrainer
) -> None:
    if logits is None:
        config.check_teachers(len(teachers))
        return
    if teachers:
        raise SettingError("Either a teacher's logits are given, or teachers; not both.")
    if config.needs_live_teacher:
        raise SettingError("A teacher of which only logits are known cannot see changed images or show its features.")
    if lab.few.samples or lab.few.unlabelled:
        raise SettingError("A teacher of which only logits are known cannot label further images.")


class ExperimentTrainer:
    """What all trainings of an experiment share."""

    def __init__(
        self,
        splits: Mapping[str, LabelledImages],
        spec: InputSpec,
        out: str | Path,
        config: TrainingConfig,
        few: LabelBudget,
    ):
        self.spec, self.few, self.store = spec, few, Store(Path(out) / "runs")
        self._config, self._backbones = config, dict[int, Backbone]()  # those of trained networks, by their id
        self._validation = splits["validation"]
        self.train, self._others = splits["train"], None
        self._data = self.train.fingerprint[:16]
        self._unfinished = Unfinished(self.store, self._everything(splits))
        if few.samples:
            labelled, others = labelled_part(self.train, few.samples, config.seed)
            self._others = splits["train"].take(others)
            self.train = self.train.take(labelled)

    def _everything(self, splits: Mapping[str, LabelledImages]) -> dict[str, Any]:
        """All that decides what is trained, but for networks and recipes."""
        unlabelled = self.few.unlabelled
        return {
            "data": {split: splits[split].fingerprint for split in ("train", "validation")},
            "input": self.spec.to_json(),
            "few": [self.few.samples, self.few.pseudo_labels, self._config.seed],
            "unlabelled": "" if unlabelled is None else unlabelled.fingerprint,
        }

    @property
    def classes(self) -> int:
        return len(self.train.classes)

    def about(self, origin: ModelSource) -> dict[str, Any]:
        """What the training record says of the samples and the weights that a network began with."""
        found: dict[str, Any] = {"data": self._data} | ({"weights_from": origin.source} if origin.source else {})
        if self.few.samples:
            found["labelled"] = self.few.samples
        if self.few.pseudo_labels is not None:
            found["pseudo_labels"] = self.few.pseudo_labels
        return found

    def begun(self, origin: ModelSource, config: TrainingConfig, role: str) -> nn.Module:
        """A network before its first step.

        Raises:
            ModelError: It does not take the experiment's images, or not its weights.
            SettingError: Some of its weights would stay random.
        """
        network, missing = origin.build(self.spec, self.classes, config.seed)
        self._try(network, origin.name)
        if not origin.trained:
            self.require_trained(network, missing, config, role)
        return network

    @torch.no_grad()
    def _try(self, network: nn.Module, name: str) -> None:
        try:
            network.eval()(torch.zeros(2, self.spec.channels, *self.spec.size))
        except (RuntimeError, ValueError, AssertionError) as error:
            reason, size = str(error).strip().partition("\n")[0].rstrip("."), "{} x {}".format(*self.spec.size)
            raise ModelError(f"'{name}' does not take images of {size} pixels: {reason}.") from error

    def require_layers(self, student: nn.Module, teacher: nn.Module) -> None:
        """Refuse a feature loss that these networks have no layers for."""
        own, other = self._config.student_layer, self._config.teacher_layer
        sample = torch.zeros(2, self.spec.channels, *self.spec.size)
        choose_layers(self._config.feature_loss, student, teacher, sample, student_layer=own, teacher_layer=other)

    def require_trained(self, network: nn.Module, missing: Sequence[str], config: TrainingConfig, role: str) -> None:
        """Refuse fresh weights that nothing would train, and freeze what is to be frozen."""
        if config.trainable == "all":
            return
        head, _ = head_of(network, torch.zeros(2, self.spec.channels, *self.spec.size))
        freeze(network, config.trainable, head)
        trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        left = [name for name in missing if name not in trained and not is_statistic(name)]
        if left:
            raise SettingError(
                f"The weights of the {role} lack {len(left)} tensors (first '{left[0]}') that would stay random, since "
                "they are frozen; unfreeze more stages, or give complete weights."
            )

    def fit(
        self,
        role: str,
        network: nn.Module,
        training: LabelledImages,
        config: TrainingConfig,
        soft: Tensor | None = None,
        teachers: Sequence[nn.Module] = (),
        logits: Tensor | None = None,
    ) -> Iterator[TrainingProgress]:
        """Train a network, or its head on features that are computed once; go on where it was interrupted.

        Args:
            role: Of the network.
            network: Before its first step.
            training: The samples.
            config: The recipe.
            soft: The teachers' answers to them; None where they answer in every step, or where there are none.
            teachers: Whose answers those are.
            logits: Those that were given in a teacher's place.
        """
        checkpoint = self._unfinished.checkpoint(role, network, config, teachers, logits)
        backbone = frozen_backbone(network, self.spec, self.store, config)
        if backbone is None:
            normalise, live = self.spec.normalise, teachers if config.needs_live_teacher else ()
            data = (training, self._validation)
            yield from fit(network, *data, normalise, config, soft, teachers=live, checkpoint=checkpoint)
            return
        head = backbone.linear_head()
        own, validation = (backbone.as_samples(samples) for samples in (training, self._validation))
        yield from fit(head, own, validation, backbone.head_spec().normalise, config, soft, checkpoint=checkpoint)
        backbone.put_head(head)
        self._backbones[id(network)] = backbone

    def doubts(self, role: str, network: nn.Module, *, given: bool) -> list[Doubt]:
        """What looks wrong with a teacher's answers to the validation split."""
        answers = self._answer(network, self._validation)
        return teacher_doubts(role, network, answers, self._validation, self.spec if given else None)

    def kd_training_set(
        self, networks: Sequence[nn.Module], logits: Tensor | None
    ) -> tuple[LabelledImages, Tensor | None]:
        """What the KD student is trained on: the samples, with pseudo-labelled ones, and the teachers' logits.

        There are none where the teachers answer in every step.
        """
        if logits is not None:
            return self.train, logits
        live = self._config.needs_live_teacher
        soft = None if live else self._answers(networks, self.train)
        pool = [part for part in (self._others, self.few.unlabelled) if part is not None and len(part)]
        if self.few.pseudo_labels is None or not pool:
            return self.train, soft
        training = self.train
        for part in pool:
            said = self._answers(networks, part)
            mean = said if said.ndim == 2 else pooled_logits(said, 1.0, self._config.teacher_mixture)
            confidence, answer = mean.softmax(1).max(1)
            sure = confidence >= self.few.pseudo_labels
            training = joined(training, replace(part, labels=answer).take(sure))
            soft = None if soft is None else torch.cat([soft, said[..., sure, :]], dim=-2)
        return training, soft

    def _answers(self, networks: Sequence[nn.Module], samples: LabelledImages) -> Tensor:
        answers = [self._answer(network, samples) for network in networks]
        return answers[0] if len(answers) == 1 else torch.stack(answers)

    def _answer(self, network: nn.Module, samples: LabelledImages) -> Tensor:
        if id(network) in self._backbones:
            return self._backbones[id(network)].logits(samples)
        device, bf16 = self._config.device, self._config.bf16
        return predict_logits(network, samples, self.spec.normalise, device=device, bf16=bf16)

    def keep_start(self, network: nn.Module) -> str:
        """Keep the weights that the students begin with, for later studies; return their name in the store."""
        content = weights_of(network)
        name = f"start/{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        self.store.write(name, content)
        return name


__getattr__ = renamed(__name__, {"Few": "LabelBudget", "Origin": "ModelSource"})
