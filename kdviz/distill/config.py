"""The settings of one training, checked when they are created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from kdviz.core.errors import SettingError
from kdviz.core.moved import renamed_arguments
from kdviz.distill.augment import Augment
from kdviz.distill.objectives.feature_losses import check_feature_options
from kdviz.distill.objectives.losses import check_distillation, check_options, teacher_losses
from kdviz.distill.objectives.registry import ExplanationLoss, explanation_losses
from kdviz.distill.optimisation import learning_rate_schedules, optimizers
from kdviz.distill.schedules import Schedule, schedule
from kdviz.distill.transfer_sets.registry import TRAINING, check_transfer_set

TEACHER_SETTINGS = (
    "temperature",
    "alpha",
    "loss",
    "loss_options",
    "kd_epochs",
    "teacher_mix",
    "feature_loss",
    "feature_weight",
    "feature_options",
    "student_layer",
    "teacher_layer",
    "transfer_set",
    "transfer_steps",
)
"""The settings that have no meaning without a teacher, by their names in files."""

_RECORDED_AS = {"teacher_mixture": "teacher_mix", "trainable": "unfreeze"}


def recorded_name(field_name: str) -> str:
    """The name of a setting in files: those of format 1, which are part of every run's identity."""
    return _RECORDED_AS.get(field_name, field_name)


@renamed_arguments(teacher_mix="teacher_mixture", unfreeze="trainable")
@dataclass(frozen=True)
class TrainingConfig:
    """How one network is trained: the paper's recipe (Adam 1e-3, batch 256), with more epochs for the students.

    On the validation split the KD student still gains after the paper's 12 epochs (98.8 to 98.9 %), the
    student alone does not; both get the same.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Samples per step.
        learning_rate: Learning rate; of a schedule, its highest value.
        learning_rate_schedule: Course of the learning rate, a name in
            ``kdviz.distill.optimisation.learning_rate_schedules``.
        optimizer: A name in ``kdviz.distill.optimisation.optimizers``.
        weight_decay: Weight decay of the optimiser.
        temperature, alpha: See :func:`kdviz.distill.distillation_loss`; a number, or a text as in
            :mod:`kdviz.distill.schedules` for one that changes from epoch to epoch. Used when there is a teacher, as
            are the next three and ``teacher_mixture``.
        loss: Loss against the teacher, a name in ``kdviz.distill.teacher_losses``.
        loss_options: Keyword arguments of that loss.
        kd_epochs: Number of epochs with the teacher; cross entropy alone afterwards (Cho & Hariharan, 2019,
            section 4.3). None: never.
        label_smoothing: e of :func:`kdviz.distill.objectives.losses.label_smoothing_loss`.
        class_weights: Class weights of the cross entropy: ``none``, or ``balanced`` for equal total weights of classes.
        teacher_mixture: A weight for each of several teachers; empty: equal weights.
        feature_loss: Loss between intermediate layers, a name in ``kdviz.distill.feature_losses``, or between
            explanations, a name in ``kdviz.distill.explanation_losses``; or empty.
        feature_weight: Weight of that loss in the sum of the losses.
        feature_options: Keyword arguments of that loss.
        student_layer, teacher_layer: The layers to compare; see :mod:`kdviz.distill.objectives.layers`. Empty: the
            default.
        transfer_set: The pictures that a student with a teacher is trained on: ``training``, those of the data set; a
            name in ``kdviz.distill.transfer_sets.registry.transfer_sets``; or the path of a folder of pictures or of
            one picture. Labels of other pictures than the training ones are the teacher's.
        transfer_steps: Steps in which a transfer set's generator is trained; 0: as many as draw each picture once.
        augment: Augmentations of the training images, names in ``kdviz.distill.augmentations`` with commas between.
        views: Fixed views of each training image, which are seen in turn, one an epoch; the teacher's logits of them
            are computed once. 0: every epoch changes the images anew, and a teacher runs in every step.
        trainable: Which weights are trained: ``all``, ``head``, or the number of stages before the head, as a text.
        seed: Seed of the initial weights, the order of samples and dropout.
        device: A torch device, or ``auto``: the GPU when there is one.
        bf16: Autocast to bfloat16 in the forward pass: ``auto`` where the device is faster with it.
    """

    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    temperature: float | str = 4.0
    alpha: float | str = 0.5
    loss: str = "soft_targets"
    loss_options: Mapping[str, float] = field(default_factory=dict)
    kd_epochs: int | None = None
    label_smoothing: float = 0.0
    class_weights: str = "none"
    teacher_mixture: tuple[float, ...] = ()
    feature_loss: str = ""
    feature_weight: float = 1.0
    feature_options: Mapping[str, float] = field(default_factory=dict)
    student_layer: str = ""
    teacher_layer: str = ""
    transfer_set: str = TRAINING
    transfer_steps: int = 0
    augment: str = ""
    views: int = 0
    trainable: str = "all"
    optimizer: str = "adam"
    learning_rate_schedule: str = "constant"
    weight_decay: float = 0.0
    seed: int = 0
    device: str = "auto"
    bf16: str = "auto"

    def __post_init__(self) -> None:
        self._check_steps()
        self._check_labels()
        self._check_teacher()

    @cached_property
    def schedules(self) -> dict[str, Schedule]:
        """``temperature`` and ``alpha`` as functions of the epoch, parsed when the settings are put together."""
        return {name: schedule(name, getattr(self, name)) for name in ("temperature", "alpha")}

    def temperature_in(self, epoch: int) -> float:
        return self.schedules["temperature"].at(epoch, self.epochs)

    def alpha_in(self, epoch: int) -> float:
        return self.schedules["alpha"].at(epoch, self.epochs)

    def teaches_in(self, epoch: int) -> bool:
        """Whether the teacher's loss is still part of the sum."""
        return self.kd_epochs is None or epoch <= self.kd_epochs

    def check_teachers(self, count: int) -> None:
        """Raise :class:`SettingError` when ``count`` teachers do not fit ``teacher_mixture``."""
        if count == 0:
            raise SettingError("There must be a teacher.")
        if len(self.teacher_mixture) not in (0, count):
            weights = len(self.teacher_mixture)
            raise SettingError(
                "teacher_mixture needs one value a teacher ({count}), got {weights}.",
                count=count,
                weights=weights,
            )

    @property
    def needs_live_teacher(self) -> bool:
        """Whether the teacher must run in every step, on the very images that the student sees."""
        compares_layers = bool(self.feature_loss) and self.explanation_loss is None
        return compares_layers or (bool(self.augment) and not self.views)

    @property
    def explanation_loss(self) -> ExplanationLoss | None:
        """The loss between explanations, where ``feature_loss`` is one."""
        return explanation_losses.get(self.feature_loss) if self.feature_loss else None

    @property
    def explains_fixed_images(self) -> bool:
        """Whether a teacher's explanations can be computed once: the images, or their views, are always the same."""
        return self.explanation_loss is not None and not self.needs_live_teacher

    @property
    def seen_views(self) -> int:
        """The number of fixed views that the training sees: one an epoch at most."""
        return min(self.views, self.epochs)

    @property
    def needs_teacher_network(self) -> bool:
        """Whether the logits of the unchanged images are not enough: the teacher itself is asked."""
        return bool(self.augment or self.feature_loss or self.has_own_pictures)

    @property
    def has_own_pictures(self) -> bool:
        """Whether a student with a teacher is trained on other pictures than the data set's."""
        return self.transfer_set != TRAINING

    def for_teacher(self, number: int) -> TrainingConfig:
        """The recipe of teacher ``number``: it has no teacher itself, and smoothed labels would make it teach less."""
        own = {"label_smoothing": 0.0, "feature_loss": "", "feature_options": {}, "views": 0}
        own |= {"transfer_set": TRAINING, "transfer_steps": 0}
        return replace(self, seed=(self.seed + number) % 2**31, **own)

    def to_json(self) -> dict[str, Any]:
        """The settings under their names in files."""
        return {recorded_name(name): value for name, value in asdict(self).items()}

    def _check_steps(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise SettingError("{name} must be at least 1, got {value}.", name=name, value=getattr(self, name))
        if not 0 <= self.seed < 2**31:
            raise SettingError("seed must be from 0 to 2^31 - 1, got {seed}.", seed=self.seed)
        if not 0 < self.learning_rate < 10:
            raise SettingError(
                "learning_rate must be above 0 and below 10, got {learning_rate:g}.", learning_rate=self.learning_rate
            )
        if not 0 <= self.weight_decay < 1:
            raise SettingError(
                "weight_decay must be at least 0 and below 1, got {weight_decay:g}.", weight_decay=self.weight_decay
            )
        for registry, name in ((optimizers, self.optimizer), (learning_rate_schedules, self.learning_rate_schedule)):
            _ = registry[name]  # an error where it is not known
        if self.bf16 not in ("auto", "on", "off"):
            raise SettingError("bf16 must be auto, on or off, got '{bf16}'.", bf16=self.bf16)

    def _check_labels(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise SettingError(
                "label_smoothing must be at least 0 and below 1, got {label_smoothing:g}.",
                label_smoothing=self.label_smoothing,
            )
        if self.class_weights not in ("none", "balanced"):
            raise SettingError(
                "class_weights must be none or balanced, got '{class_weights}'.", class_weights=self.class_weights
            )

    def _check_teacher(self) -> None:
        # Between its ends a schedule stays between their values, so that its values are all there is to check.
        for temperature in self.schedules["temperature"].values:
            for alpha in self.schedules["alpha"].values:
                check_distillation(temperature, alpha)
        check_options(self.loss, self.loss_options)
        self._check_features()
        self._check_views()
        self._check_transfer_set()
        if self.kd_epochs is not None and self.kd_epochs < 1:
            raise SettingError(
                "kd_epochs must be at least 1, got {kd_epochs}; alpha 0 is no distillation.", kd_epochs=self.kd_epochs
            )
        if not all(0 < weight < float("inf") for weight in self.teacher_mixture):
            listed = ", ".join(f"{weight:g}" for weight in self.teacher_mixture)
            raise SettingError("teacher_mixture must be above 0 and finite, got {weights}.", weights=listed)

    def _check_views(self) -> None:
        if self.views < 0:
            raise SettingError("views must be at least 0, got {views}.", views=self.views)
        if self.views and not self.augment:
            raise SettingError("views are changed copies of the images; name with augment how they are changed.")
        if self.views and Augment(self.augment, classes=2).mixes:
            raise SettingError(
                "Views are fixed for each image, and {augment} mixes those of a batch; leave views or the mixing away.",
                augment=self.augment,
            )

    def _check_transfer_set(self) -> None:
        check_transfer_set(self.transfer_set)
        if self.transfer_steps < 0:
            raise SettingError("transfer_steps must be at least 0, got {steps}.", steps=self.transfer_steps)
        if self.has_own_pictures and self.trainable == "head":
            raise SettingError(
                "A transfer set is made of pictures, and where heads alone are trained the data are features; let "
                "trainable be all or a number of stages."
            )

    def _check_features(self) -> None:
        if self.feature_loss:
            check_feature_options(self.feature_loss, self.feature_options)
        elif self.feature_options:
            raise SettingError(
                "There are options of a loss between layers ({options}), and no such loss is named; name it, too.",
                options=", ".join(self.feature_options),
            )
        if not 0 <= self.feature_weight < float("inf"):
            raise SettingError(
                "feature_weight must be at least 0 and finite, got {feature_weight:g}.",
                feature_weight=self.feature_weight,
            )
        if Augment(self.augment, classes=2).mixes and "labels" in teacher_losses[self.loss].needs:
            raise SettingError(
                "The loss '{loss}' needs one label a sample, and {augment} mixes them.",
                loss=self.loss,
                augment=self.augment,
            )
