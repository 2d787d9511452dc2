"""Outputs of layers as the features that losses compare, and the modules that are trained between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kdviz.distill.objectives.evaluation_mode import evaluating
from kdviz.distill.objectives.layers import FeatureHook, LayerPair, choose_layers
from kdviz.distill.objectives.registry import MAPS, STAGES, FeatureLoss, feature_losses

if TYPE_CHECKING:
    from kdviz.distill.config import TrainingConfig


@dataclass(frozen=True, eq=False)  # compared by identity: tensors have no truth value
class FeatureSamples:
    """What an auxiliary module is built from: two samples and their features, and the frozen teacher.

    Attributes:
        student, teacher: Features, (2, C, H, W) or (2, D), for their shapes; of stages the last ones.
        teacher_network: The teacher, in evaluation mode.
        inputs: The samples as both networks take them, (2, C, H, W).
        stages: Of stages, the features of student and teacher at each.
    """

    student: Tensor
    teacher: Tensor
    teacher_network: nn.Module
    inputs: Tensor
    stages: tuple[tuple[Tensor, Tensor], ...] = ()

    @classmethod
    @torch.no_grad()
    def of(cls, layers: LayerPair, student: nn.Module, teacher: nn.Module, inputs: Tensor) -> FeatureSamples:
        """Run the samples through both networks, which are left as they are.

        Args:
            layers: The layers that are compared.
            student, teacher: (N, C, H, W) -> logits (N, classes).
            inputs: As both take it, (N, C, H, W), of which two samples are run.
        """

        def outputs(network: nn.Module, layer: str) -> list[Tensor]:
            with FeatureHook(network, layer.split(",")) as hook, evaluating(network):
                network(inputs[:2])
                return hook.take()

        both = outputs(student, layers.student), outputs(teacher, layers.teacher)
        stages = tuple(zip(*both, strict=True)) if layers.kind == STAGES else ()
        last = (each[-1] if stages else as_features(each[0], layers.kind) for each in both)
        return cls(*last, teacher_network=teacher, inputs=inputs[:2], stages=stages)


def as_features(output: Tensor, kind: str) -> Tensor:
    """The output of a layer as features: ``maps`` unchanged, ``vectors`` (N, D) averaged over positions.

    Tokens (N, T, D) and the like are flattened.
    """
    if kind == MAPS:
        return output
    return output.mean((2, 3)) if output.ndim == 4 else output.flatten(1)


def features_of(outputs: Sequence[Tensor], kind: str) -> Tensor | tuple[Tensor, ...]:
    """The outputs of the compared layers of a network as what a loss takes: of stages several, else the only one."""
    return tuple(outputs) if kind == STAGES else as_features(outputs[0], kind)


def compared_layers(
    config: TrainingConfig, student: nn.Module, teacher: nn.Module, inputs: Tensor
) -> tuple[LayerPair, nn.Module | None]:
    """The layers that the feature loss of a recipe compares, and the module that is trained between them.

    Args:
        config: The recipe, which has a feature loss.
        student, teacher: (N, C, H, W) -> logits (N, classes); they are left as they are.
        inputs: As both take it, (N, C, H, W), of which two samples are run.

    Raises:
        UnknownNameError: There is no such layer.
        ModelError: The networks lack such layers, or the module does not fit them.
    """
    student_layer, teacher_layer = config.student_layer, config.teacher_layer
    layers = choose_layers(
        config.feature_loss, student, teacher, inputs, student_layer=student_layer, teacher_layer=teacher_layer
    )
    loss = feature_losses.get(config.feature_loss)
    if loss is None:  # it is between explanations, for which no module is trained
        return layers, None
    samples = FeatureSamples.of(layers, student, teacher, inputs)
    with evaluating(teacher):
        return layers, build_auxiliary(loss, samples, config.seed)


def build_auxiliary(loss: FeatureLoss, samples: FeatureSamples, seed: int) -> nn.Module | None:
    """The module that is trained along with the student for a loss between layers, untrained, and then thrown away.

    Args:
        loss: The loss: its own module is built, or a projection where it needs one.
        samples: Two samples with their features.
        seed: Seed of its weights, which depend on nothing else.

    Returns:
        The module, float32, in training mode, on the device of the student's features; None where there is none.
    """
    if loss.auxiliary is not None:
        return _seeded(partial(loss.auxiliary, samples), seed).to(samples.student.device)
    if loss.needs_projection(samples.student, samples.teacher):
        return build_projection(samples.student, samples.teacher, seed)
    return None


def build_projection(student_features: Tensor, teacher_features: Tensor, seed: int) -> nn.Module:
    """A linear map from the student's width to the teacher's, untrained: FitNets' regressor.

    Maps get a 1 x 1 convolution, vectors a linear layer. It is trained along with the student and then thrown away.

    Args:
        student_features, teacher_features: (N, C, H, W) or (N, D), for their shapes and the device.
        seed: Seed of its weights, which depend on nothing else.

    Returns:
        The projection, float32, on the device of the student's features.
    """
    widths = student_features.shape[1], teacher_features.shape[1]
    layer = partial(nn.Conv2d, kernel_size=1) if student_features.ndim == 4 else nn.Linear
    return _seeded(lambda: layer(*widths), seed).to(student_features.device)


def _seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """What ``build`` gives when torch's generator has this seed; the generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would change a GPU's generator for good
        return build()
