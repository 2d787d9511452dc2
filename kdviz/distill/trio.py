"""The runs of an experiment: a teacher or several, the KD student, the same student trained alone."""

from __future__ import annotations

import copy
import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.checkpoints import classifier_head, load_pretrained, load_trained
from kdviz.datasets import LabelledImages
from kdviz.distill.check import check_teacher
from kdviz.distill.config import TEACHER_SETTINGS, TrainingConfig
from kdviz.distill.layers import choose_layers, head_of
from kdviz.distill.losses import pooled_logits
from kdviz.distill.objective import freeze
from kdviz.distill.runs import new_network, weights_of
from kdviz.distill.training import Progress, fit, predict_logits
from kdviz.distill.transfer import Backbone, frozen_backbone
from kdviz.errors import ModelError, SettingError
from kdviz.experiment import Experiment, InputSpec
from kdviz.files import Store, require_writable
from kdviz.networks import RENORMALISED, Renormalised

MNIST_INPUT = InputSpec(size=(28, 28), channels=1, mean=(0.0,), std=(1.0,), fit="digit")
"""Values in [0, 1] as the paper's nets take them, so that 0 is black."""


@dataclass(frozen=True)
class Stage:
    """Progress of one of several trainings: ``name`` says which, ``number`` of ``count``; None is its end."""

    name: str
    number: int
    count: int
    progress: Progress | None


@dataclass(frozen=True)
class Origin:
    """Where a network comes from.

    Attributes:
        network: By name.
        weights: To begin with; None: fresh ones.
        trained: The weights are a finished classifier's, which is used as it is. Otherwise they are pretrained on other
            classes, and the head is fresh.
        normalisation: Mean and std that the weights learned from, where they are not the experiment's.
        source: What the training record says of the weights, e.g. the name of their file.
    """

    network: str
    weights: Mapping[str, Tensor] | None = field(default=None, repr=False)
    trained: bool = False
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None
    source: str = ""

    @property
    def name(self) -> str:
        """The network's name in the experiment."""
        return self.network.removesuffix(RENORMALISED) + RENORMALISED if self.normalisation else self.network

    def build(self, spec: InputSpec, classes: int, seed: int) -> tuple[nn.Module, tuple[str, ...]]:
        """The network, and the names of its tensors before the head that the weights lack.

        Raises:
            ModelError: The weights are not this network's.
        """
        network = new_network(self.name, spec, classes, seed)
        if self.normalisation and isinstance(network, Renormalised):
            network.between((spec.mean, spec.std), self.normalisation)
        if self.weights is None:
            return network, ()
        if self.trained:
            load_trained(network, self.weights)
            return network, ()
        loaded = load_pretrained(network, self.weights, head=classifier_head(network))
        return network, (*loaded.missing, *loaded.mismatched)


@dataclass(frozen=True)
class Few:
    """Which training samples have labels, and what is made of the others.

    Attributes:
        samples: So many of the training samples have labels, classes in their proportions; 0: all.
        pseudo_labels: The KD student also learns from the others, with the teacher's answers as labels, where it is at
            least so sure. None: it does not.
        unlabelled: Further images without labels (their labels are not looked at).
    """

    samples: int = 0
    pseudo_labels: float | None = None
    unlabelled: LabelledImages | None = None

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise SettingError(f"The number of labelled training samples must be at least 1, got {self.samples}.")
        if self.pseudo_labels is not None and not 0 <= self.pseudo_labels < 1:
            raise SettingError(f"pseudo_labels must be at least 0 and below 1, got {self.pseudo_labels:g}.")
        if self.unlabelled is not None and self.pseudo_labels is None:
            raise SettingError("Unlabelled images are used with pseudo_labels, the least confidence of the teacher.")
        if self.pseudo_labels is not None and not self.samples and self.unlabelled is None:
            raise SettingError("pseudo_labels need images without labels: others, or fewer labelled training samples.")


def labelled_part(samples: LabelledImages, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers of ``count`` samples, classes in their proportions but at least one each, and of the others.

    Raises:
        SettingError: There are not so many, or fewer than one a class.
    """
    classes = len(samples.classes)
    if not classes <= count <= len(samples):
        raise SettingError(f"The labelled training samples must be {classes} to {len(samples)}, got {count}.")
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
    # Each sample's place among those of its class, as a share: the smallest shares are a stratified draw.
    share = torch.empty(len(samples), dtype=torch.float64)
    for label in range(classes):
        own = order[samples.labels[order] == label]
        share[own] = torch.arange(len(own), dtype=torch.float64) / max(1, len(own))
    ranked = order[share[order].argsort(stable=True)]
    return ranked[:count].sort().values, ranked[count:].sort().values


def train_experiment(
    splits: Mapping[str, LabelledImages],
    spec: InputSpec,
    dataset: str,
    out: str | Path,
    config: TrainingConfig,
    *,
    teachers: Sequence[Origin],
    student: Origin,
    teacher_config: TrainingConfig | None = None,
    teacher_logits: Tensor | None = None,
    few: Few | None = None,
    title: str = "",
) -> Iterator[Stage]:
    """Train the models of an experiment and write them to ``out``, without figures.

    An experiment that is there is replaced; its tables are kept under another name if its teacher was another.

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

    Raises:
        SettingError: The settings contradict each other; the text says which.
        ModelError: Weights do not fit, or training fails.
        KdvizError: ``out`` cannot be written.
    """
    lab = _Lab(splits, spec, out, config, few or Few())
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
    for number, (origin, own, role, network) in enumerate(zip(teachers, recipes, roles, networks, strict=True), 1):
        record: dict[str, Any] = {"weights_from": origin.source, "trained": False}
        if not origin.trained:
            for progress in lab.fit(network, lab.train, own):
                yield Stage(role, number, count, progress)
            record = training_record(own, lab.train, splits["validation"], distilled=False)
            record |= lab.about(origin)
        check_teacher(network.eval().requires_grad_(False), experiment.classes, lab.train.classes)
        experiment.add_run(role, origin.name, network, record, {})

    start = lab.keep_start(fresh) if student.weights is not None else ""
    for number, role in ((count - 1, "kd_student"), (count, "student")):
        distilled = role == "kd_student"
        network = copy.deepcopy(fresh)
        live = networks if distilled and config.needs_live_teacher else ()
        training, soft = lab.lesson(networks, teacher_logits) if distilled else (lab.train, None)
        for progress in lab.fit(network, training, config, soft, live):
            yield Stage(role, number, count, progress)
        record = training_record(config, training, splits["validation"], distilled=distilled)
        record |= lab.about(student) | ({"start": start} if start else {})
        experiment.add_run(role, student.name, network, record, {})
    experiment.set_aside_tables()
    experiment.save()


def _teacher_recipe(config: TrainingConfig, number: int) -> TrainingConfig:
    """What concerns a teacher's teacher means nothing to it, and smoothed labels would make it teach less."""
    return replace(config, seed=(config.seed + number) % 2**31, label_smoothing=0.0, feature_loss="")


def _check_teachers(config: TrainingConfig, teachers: Sequence[Origin], logits: Tensor | None, lab: _Lab) -> None:
    if logits is None:
        config.check_teachers(len(teachers))
        return
    if teachers:
        raise SettingError("Either a teacher's logits are given, or teachers; not both.")
    if config.needs_live_teacher:
        raise SettingError("A teacher of which only logits are known cannot see changed images or show its features.")
    if lab.few.samples or lab.few.unlabelled:
        raise SettingError("A teacher of which only logits are known cannot label further images.")


class _Lab:
    """What all trainings of an experiment share."""

    def __init__(
        self, splits: Mapping[str, LabelledImages], spec: InputSpec, out: str | Path, config: TrainingConfig, few: Few
    ):
        self.spec, self.few, self.store = spec, few, Store(Path(out) / "runs")
        self._config, self._backbones = config, dict[int, Backbone]()  # those of trained networks, by their id
        self._validation = splits["validation"]
        self.train, self._others = splits["train"], None
        self._data = self.train.fingerprint[:16]
        if few.samples:
            labelled, others = labelled_part(self.train, few.samples, config.seed)
            self._others = splits["train"].take(others)
            self.train = self.train.take(labelled)

    @property
    def classes(self) -> int:
        return len(self.train.classes)

    def about(self, origin: Origin) -> dict[str, Any]:
        """What the training record says of the samples and the weights that a network began with."""
        found: dict[str, Any] = {"data": self._data} | ({"weights_from": origin.source} if origin.source else {})
        if self.few.samples:
            found["labelled"] = self.few.samples
        if self.few.pseudo_labels is not None:
            found["pseudo_labels"] = self.few.pseudo_labels
        return found

    def begun(self, origin: Origin, config: TrainingConfig, role: str) -> nn.Module:
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
        if config.unfreeze == "all":
            return
        head, _ = head_of(network, torch.zeros(2, self.spec.channels, *self.spec.size))
        freeze(network, config.unfreeze, head)
        trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        left = [name for name in missing if name not in trained and not _is_statistic(name)]
        if left:
            raise SettingError(
                f"The weights of the {role} lack {len(left)} tensors (first '{left[0]}') that would stay random, since "
                "they are frozen; unfreeze more stages, or give complete weights."
            )

    def fit(
        self,
        network: nn.Module,
        training: LabelledImages,
        config: TrainingConfig,
        soft: Tensor | None = None,
        teachers: Sequence[nn.Module] = (),
    ) -> Iterator[Progress]:
        """Train a network, or its head on features that are computed once."""
        backbone = frozen_backbone(network, self.spec, self.store, config)
        if backbone is None:
            normalise = self.spec.normalise
            yield from fit(network, training, self._validation, normalise, config, soft, teachers=teachers)
            return
        head = backbone.linear_head()
        own, validation = (backbone.as_samples(samples) for samples in (training, self._validation))
        yield from fit(head, own, validation, backbone.head_spec().normalise, config, soft)
        backbone.put_head(head)
        self._backbones[id(network)] = backbone

    def lesson(self, networks: Sequence[nn.Module], logits: Tensor | None) -> tuple[LabelledImages, Tensor | None]:
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
            mean = said if said.ndim == 2 else pooled_logits(said, 1.0, self._config.teacher_mix)
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


def _is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var"))


def joined(first: LabelledImages, second: LabelledImages) -> LabelledImages:
    """The samples of both, in one split."""
    both = first.names is not None and second.names is not None
    return replace(
        first,
        images=torch.cat([first.images, second.images]),
        labels=torch.cat([first.labels, second.labels]),
        names=(*first.names, *second.names) if both else None,  # type: ignore[misc]
        annotators=None,
    )


def training_record(
    config: TrainingConfig, training: LabelledImages, validation: LabelledImages, *, distilled: bool
) -> dict[str, Any]:
    """What experiment.json says about how a run was trained: everything needed to do it again."""
    record: dict[str, Any] = {
        **config.to_json(),
        "optimizer": "adam",
        "train_samples": len(training),
        "validation_samples": len(validation),
        "selected_by": "validation accuracy",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if not distilled:
        record = {name: value for name, value in record.items() if name not in TEACHER_SETTINGS}
    return record
