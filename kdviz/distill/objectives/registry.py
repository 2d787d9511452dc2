"""The losses by name. Names can be read without torch.

A loss is a file of :mod:`kdviz.distill.objectives.against_teacher`, :mod:`kdviz.distill.objectives.between_features` or
:mod:`kdviz.distill.objectives.between_explanations`, or of a plugin, and is registered by a decorator.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import UnknownNameError
from kdviz.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdviz.distill.objectives.explained import Explained
    from kdviz.distill.objectives.features import FeatureSamples

    Features = Tensor | tuple[Tensor, ...]

MAPS, VECTORS, STAGES = "maps", "vectors", "stages"


@dataclass(frozen=True)
class TeacherLoss:
    """A loss between a student's and a teacher's logits, (N, classes) each, as a training uses it.

    Attributes:
        function: The pure function: student_logits, teacher_logits, then those of ``needs``, then its options.
        needs: Which of ``labels`` and ``temperature`` it takes.
        options: Its further settings and their defaults.
    """

    function: Callable[..., Tensor]
    needs: tuple[str, ...]
    options: Mapping[str, float]

    def __call__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        temperature: float,
        options: Mapping[str, float],
    ) -> Tensor:
        inputs = {"labels": labels, "temperature": temperature}
        needed = {name: inputs[name] for name in self.needs}
        return self.function(student_logits, teacher_logits.detach(), **needed, **options)


@dataclass(frozen=True)
class FeatureLoss:
    """A loss between a student's and a teacher's features, as a training uses it.

    Attributes:
        function: The pure function: student_features, teacher_features, then its options; with an auxiliary module,
            what that gives in their place.
        takes: The kinds of features that it compares, ``maps``, ``vectors`` or ``stages``, the preferred first.
        equal_widths: The kinds that need the same number of channels, or length of vectors, on both sides: a student of
            another width needs a projection, see :func:`kdviz.distill.objectives.features.build_projection`.
        options: Its settings and their defaults.
        check: Takes all options as keywords and raises where a value is outside a range narrower than >= 0 and finite.
        auxiliary: Builds the module that the loss trains along with the student, see :func:`register_feature_loss`.
    """

    function: Callable[..., Tensor]
    takes: tuple[str, ...]
    equal_widths: tuple[str, ...]
    options: Mapping[str, float]
    check: Callable[..., None] | None = None
    auxiliary: Callable[[FeatureSamples], nn.Module] | None = None

    @property
    def needs_maps(self) -> bool:
        """Whether a network without feature maps cannot take part."""
        return VECTORS not in self.takes

    def needs_projection(self, student_features: Tensor, teacher_features: Tensor) -> bool:
        """Whether the student's features must be projected to the teacher's width before they are compared."""
        kind = MAPS if teacher_features.ndim == 4 else VECTORS
        return kind in self.equal_widths and student_features.shape[1] != teacher_features.shape[1]

    def __call__(
        self,
        student_features: Features,
        teacher_features: Features,
        options: Mapping[str, float],
        auxiliary: nn.Module | None = None,
    ) -> Tensor:
        """The loss, (), in at least float32 whatever the features are.

        Args:
            student_features, teacher_features: As ``takes`` says.
            options: The options that differ from their defaults.
            auxiliary: As :func:`kdviz.distill.objectives.features.build_auxiliary` gives it.
        """
        from kdviz.distill.objectives.shapes import at_least_float32  # needs torch, which names do not

        def converted(features: Features, *, detached: bool) -> Features:
            if isinstance(features, tuple):
                return tuple(at_least_float32(each.detach() if detached else each) for each in features)
            return at_least_float32(features.detach() if detached else features)

        student, teacher = converted(student_features, detached=False), converted(teacher_features, detached=True)
        if auxiliary is None:
            return self.function(student, teacher, **options)
        if self.auxiliary is None:
            return self.function(auxiliary(student), teacher, **options)  # a projection
        return self.function(*auxiliary(student, teacher), **options)


@dataclass(frozen=True)
class ExplanationLoss:
    """A loss between a student's and a teacher's explanations of the teacher's class, as a training uses it.

    Attributes:
        function: The pure function: student_explanation, teacher_explanation, (n, ...) each, to the mean over samples.
        explain: A batch with a network's answers, and the options, to the explanation, (n, ...).
        takes: ``maps`` where an explanation is computed from a layer with maps, which both networks must have.
        from_inputs: Whether an explanation needs the gradient of the input.
        every_option: For explanations that are sampled: the option that says every how many epochs a sample is
            explained. Empty: each sample in each epoch, with nothing random.
        options: Its settings and their defaults.
        check: Takes all options as keywords and raises where a value is outside its range.
        methods: The methods of :func:`kdviz.explain` whose maps it trains: a measure by them marks the loss's own work.
    """

    function: Callable[..., Tensor]
    explain: Callable[..., Tensor]
    takes: tuple[str, ...]
    from_inputs: bool
    every_option: str
    options: Mapping[str, float]
    check: Callable[..., None] | None = None
    methods: tuple[str, ...] = ()

    @property
    def needs_maps(self) -> bool:
        """Whether a network without feature maps cannot take part."""
        return bool(self.takes)

    def every(self, options: Mapping[str, float]) -> int:
        """Every how many epochs a sample is explained."""
        return int({**self.options, **options}[self.every_option]) if self.every_option else 1

    def explanation(self, explained: Explained, options: Mapping[str, float]) -> Tensor:
        """The explanation of each sample of a batch, (n, ...), in at least float32."""
        from kdviz.distill.objectives.shapes import at_least_float32  # needs torch, which names do not

        return at_least_float32(self.explain(explained, **{**self.options, **options}))


GENERAL = ("cross_entropy", "label_smoothing", "several_teachers", "distillation")
"""Names of the losses of neither kind, which :mod:`kdviz.distill.objectives.losses` registers with torch."""

LISTED = "losses"
"""What ``kdviz list`` is told to list losses."""

losses: Registry[Callable[..., Tensor]] = Registry("loss", listed=LISTED)
"""All losses, as pure functions."""

teacher_losses: Registry[TeacherLoss] = Registry(
    "distillation loss", "kdviz.distill.objectives.against_teacher", one_per_file=True, listed=LISTED
)
"""The losses against a teacher's logits."""

feature_losses: Registry[FeatureLoss] = Registry(
    "feature loss", "kdviz.distill.objectives.between_features", one_per_file=True, listed=LISTED
)
"""The losses between layers of the student and the teacher."""

explanation_losses: Registry[ExplanationLoss] = Registry(
    "explanation loss", "kdviz.distill.objectives.between_explanations", one_per_file=True, listed=LISTED
)
"""The losses between explanations of the student and the teacher."""


def network_loss(name: str) -> FeatureLoss | ExplanationLoss:
    """The loss between layers or explanations of two networks of this name.

    Raises:
        UnknownNameError: There is no such loss.
    """
    entry = explanation_losses.get(name)
    if entry is None and name not in feature_losses:
        raise UnknownNameError(losses.kind, name, [*feature_losses, *explanation_losses], LISTED)
    return feature_losses[name] if entry is None else entry


def register_teacher_loss(name: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a loss that a student can be distilled with, as a decorator of a pure function.

    The function takes the student's and the teacher's logits, (N, classes) each, then ``labels``, int64 (N,), or
    ``temperature`` if it has parameters of these names, and gives the mean over the batch. Its keyword-only parameters
    are its options, with their defaults; the first line of its docstring describes it in lists.

    Args:
        name: Name of the loss.

    Raises:
        ValueError: The name is that of another loss, of whatever kind.
    """

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        options = _options(function)
        needs = tuple(name for name in list(inspect.signature(function).parameters)[2:] if name not in options)
        _check_name(name, feature_losses, explanation_losses)
        teacher_losses.add(name, TeacherLoss(function, needs, options))
        return losses.add(name, function)

    return register


def register_feature_loss(
    name: str,
    *,
    takes: tuple[str, ...],
    equal_widths: tuple[str, ...] = (),
    check: Callable[..., None] | None = None,
    auxiliary: Callable[[FeatureSamples], nn.Module] | None = None,
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a loss between layers of the student and the teacher, as a decorator of a pure function.

    The function takes the student's and the teacher's features, (N, C, H, W) or (N, D) each, and gives the mean over
    the batch; of ``stages`` it takes tuples of (N, C, H, W), of as many layers each. Its keyword-only parameters are
    its options, with their defaults; the first line of its docstring describes it in lists.

    Args:
        name: Name of the loss.
        takes: The kinds of features that it compares, the preferred first: ``maps`` (N, C, H, W), ``vectors`` (N, D),
            or ``stages``, the last maps of each size.
        equal_widths: The kinds that need the same C or D on both sides; a projection is trained where they differ.
        check: Called with all options as keywords before a training. It raises :class:`kdviz.core.errors.SettingError`
            where a value is outside the option's range; that values are >= 0 and finite is checked for all losses.
        auxiliary: Builds a module of the loss's own from :class:`kdviz.distill.objectives.features.FeatureSamples`.
            Its parameters are trained along with the student, saved and resumed with the training, and thrown away at
            its end. ``module(student_features, teacher_features)`` gives a tuple of what the function then takes in
            their place; so the function stays pure. Its weights may depend on nothing but torch's generator.

    Raises:
        ValueError: The name is that of another loss, of whatever kind.
    """

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _check_name(name, teacher_losses, explanation_losses)
        feature_losses.add(name, FeatureLoss(function, takes, equal_widths, _options(function), check, auxiliary))
        return losses.add(name, function)

    return register


def register_explanation_loss(
    name: str,
    explain: Callable[..., Tensor],
    *,
    takes: tuple[str, ...] = (),
    from_inputs: bool = False,
    every_option: str = "",
    check: Callable[..., None] | None = None,
    methods: tuple[str, ...] = (),
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a loss between explanations of the student and the teacher, as a decorator of a pure function.

    The function takes the student's and the teacher's explanations, (n, ...) each, and gives the mean over the samples.
    The first line of its docstring describes it in lists.

    Args:
        name: Name of the loss.
        explain: Computes an explanation from :class:`kdviz.distill.objectives.explained.Explained`, (n, ...); its
            keyword-only parameters are the loss's options, with their defaults.
        takes, from_inputs, every_option, check, methods: See :class:`ExplanationLoss`.

    Raises:
        ValueError: The name is that of another loss, of whatever kind.
    """

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _check_name(name, teacher_losses, feature_losses)
        entry = ExplanationLoss(function, explain, takes, from_inputs, every_option, _options(explain), check, methods)
        explanation_losses.add(name, entry)
        return losses.add(name, function)

    return register


def _check_name(name: str, *others: Registry[Any]) -> None:
    """Refuse the name of a loss of another kind, which may not be imported yet and would then fail itself."""
    for registry in others:
        if registry.is_taken(name):
            raise ValueError(f"{registry.kind} '{name}' is already registered; losses of all kinds share their names")
    if name in GENERAL:
        raise ValueError(f"{losses.kind} '{name}' is already registered; losses of all kinds share their names")


def _options(function: Callable[..., Tensor]) -> dict[str, float]:
    """The keyword-only parameters and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
