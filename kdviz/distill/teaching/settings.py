"""What stands between the teachers and the KD student, checked when it is put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.core.vocabulary import Role
from kdviz.data.shortcuts.planting import PlantedShortcut
from kdviz.distill.checks import check_teachers
from kdviz.distill.config import TrainingConfig
from kdviz.distill.sources import LabelBudget, ModelSource

_APART = 1000  # more than a sweep has seeds

FRESH, PREVIOUS = "fresh", "previous"


@dataclass(frozen=True)
class Teaching:
    """Who teaches the KD student, if not the teachers alone.

    Attributes:
        assistants: Networks between teacher and student, each distilled from the one before it: teacher assistants
            (Mirzadeh et al., 2020).
        generations: Number of students that are distilled one from the other, the last of which is the KD student:
            born-again networks (Furlanello et al., 2018, section 3) where the teacher has the student's network.
        generation_start: What a generation begins with: ``fresh`` weights, or those of the network that teaches it,
            ``previous``: snapshot distillation (Yang et al., 2019), whose teacher is an earlier state of the student.
        mutual: Teachers and KD student are trained at the same time, each as a student of the others: deep mutual
            learning (Zhang et al., 2018).
    """

    assistants: tuple[ModelSource, ...] = ()
    generations: int = 1
    generation_start: str = FRESH
    mutual: bool = False

    def __post_init__(self) -> None:
        if self.generations < 1:
            raise SettingError("generations must be at least 1, got {generations}.", generations=self.generations)
        if self.generation_start not in (FRESH, PREVIOUS):
            raise SettingError(
                "generation_start must be fresh or previous, got '{generation_start}'.",
                generation_start=self.generation_start,
            )
        if any(assistant.trained for assistant in self.assistants):
            raise SettingError("An assistant is distilled from the teacher, and this one is trained.")
        if self.mutual and (self.assistants or self.generations > 1 or self.generation_start != FRESH):
            raise SettingError("In mutual learning all train at the same time: leave assistants and generations away.")


@dataclass(frozen=True)
class Link:
    """A network of a chain between the teachers and the KD student.

    Attributes:
        role: Its role.
        source: The network and its initial weights.
        config: Its recipe.
        continues: Whether it begins with the weights of the network that teaches it.
    """

    role: str
    source: ModelSource
    config: TrainingConfig
    continues: bool = False


def seeds_apart(teachers: Sequence[ModelSource], student: ModelSource) -> int:
    """How far the teachers' seeds lie behind the students'.

    A teacher of the student's network that began as the student alone does, by the same recipe, would be the same
    model: of one seed, or of the next ones in a sweep.
    """
    is_own = any(teacher.name == student.name and not teacher.trained for teacher in teachers)
    return _APART if is_own else 0


def chain(teaching: Teaching, student: ModelSource, config: TrainingConfig, teachers: int) -> list[Link]:
    """The networks between the teachers and the KD student, in the order of their training.

    All have the students' recipe, and seeds of their own behind those of the teachers.

    Args:
        teaching: Who teaches whom.
        student: The network of the students.
        config: The recipe of the students.
        teachers: Number of teachers.
    """
    generations = teaching.generations - 1
    roles = [f"assistant_{number}" if number > 1 else "assistant" for number in range(1, len(teaching.assistants) + 1)]
    roles += [f"generation_{number}" for number in range(1, generations + 1)]
    sources = [*teaching.assistants, *[student] * generations]
    continues = [False] * len(teaching.assistants) + [teaching.generation_start == PREVIOUS] * generations
    seeds = [(config.seed + teachers + number) % 2**31 for number in range(len(roles))]
    recipes = [replace(config, seed=seed) for seed in seeds]
    if recipes and config.teacher_mixture:  # of the teachers, of whom the first of the chain alone learns
        recipes[1:] = [replace(recipe, teacher_mixture=()) for recipe in recipes[1:]]
    return [Link(*each) for each in zip(roles, sources, recipes, continues, strict=True)]


def check_teaching(
    teaching: Teaching,
    config: TrainingConfig,
    teachers: Sequence[ModelSource],
    student: ModelSource,
    logits: Tensor | None,
    budget: LabelBudget,
    shortcut: PlantedShortcut | None,
) -> None:
    """Refuse what contradicts itself.

    Args:
        teaching: Who teaches whom.
        config: The recipe of the students.
        teachers, student: The networks and their initial weights.
        logits: A teacher's logits that are given in the place of teachers.
        budget: Which samples have labels.
        shortcut: The mark that is planted into the training pictures.

    Raises:
        SettingError: The settings contradict each other; the text says which.
    """
    check_teachers(config, teachers, logits, budget, shortcut)
    if shortcut is not None and teaching.mutual:
        raise SettingError("Who has seen a shortcut is not known of networks that learn from each other.")
    if teaching.mutual:
        _check_mutual(config, teachers, logits, budget)
    if teaching.generation_start == PREVIOUS:
        _check_continued(teaching, teachers, student, logits)


def _check_mutual(
    config: TrainingConfig, teachers: Sequence[ModelSource], logits: Tensor | None, budget: LabelBudget
) -> None:
    if logits is not None or any(teacher.trained for teacher in teachers):
        raise SettingError("In mutual learning the teachers are trained with the student, and this one is trained.")
    if config.feature_loss:
        raise SettingError(
            "Mutual learning compares logits; leave the feature loss '{feature_loss}' away.",
            feature_loss=config.feature_loss,
        )
    if config.has_own_pictures:
        raise SettingError("A transfer set is made with a trained teacher; leave mutual away, or the transfer set.")
    if config.teacher_mixture:
        raise SettingError("In mutual learning all others count the same; leave teacher_mixture away.")
    if budget.pseudo_labels is not None:
        raise SettingError("Pseudo-labels need a teacher that is trained before the student; leave mutual away.")


def _check_continued(
    teaching: Teaching, teachers: Sequence[ModelSource], student: ModelSource, logits: Tensor | None
) -> None:
    last = teaching.assistants[-1] if teaching.assistants else next(iter(teachers), None)
    if logits is not None or last is None or last.name != student.name or len(teachers) > 1:
        raise SettingError(
            "A generation can begin with the weights of its teacher if that is one network like the student, "
            "'{student}', and kdviz has its weights.",
            student=student.name,
        )


def mutual_recipe(config: TrainingConfig, teacher_config: TrainingConfig) -> TrainingConfig:
    """The recipe of a teacher that is trained with the students: theirs, in the same epochs and batches.

    Args:
        config: The recipe of the students.
        teacher_config: The recipe of the teachers, for its learning rate and what it trains.
    """
    own = {name: getattr(teacher_config, name) for name in ("learning_rate", "trainable")}
    return replace(config, **own, label_smoothing=0.0)


def teacher_role(number: int) -> str:
    """The role of a teacher by its number, from 1."""
    return f"teacher_{number}" if number > 1 else Role.TEACHER
