"""Optimisers by name, and the learning rate over a training as a share of its highest value.

The rate is a function of the position in the training alone, so that a training that is resumed has the rates that it
would have had.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from kdviz.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, optim

    from kdviz.distill.config import TrainingConfig

optimizers: Registry[Callable[[Iterable[Tensor], TrainingConfig, bool], optim.Optimizer]] = Registry(
    "optimizer", listed="optimizers"
)
"""``(parameters, config, fused) -> optimizer``; the first line of the docstring describes it in lists."""

learning_rate_schedules: Registry[Callable[[float], float]] = Registry("learning rate schedule", listed="schedules")
"""``position in [0, 1) -> share of the learning rate in [0, 1]``."""

WARM_UP = 0.2
"""Part of a training in which ``one_cycle`` rises."""


@optimizers.register("adam")
def adam(parameters: Iterable[Tensor], config: TrainingConfig, fused: bool) -> optim.Optimizer:
    """Adam (Kingma & Ba, 2015); the decay is part of the gradient."""
    from torch import optim

    return optim.Adam(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


@optimizers.register("adamw")
def adamw(parameters: Iterable[Tensor], config: TrainingConfig, fused: bool) -> optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""
    from torch import optim

    return optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


@optimizers.register("sgd")
def sgd(parameters: Iterable[Tensor], config: TrainingConfig, fused: bool) -> optim.Optimizer:
    """Stochastic gradient descent with Nesterov's momentum 0.9 (Sutskever et al., 2013)."""
    from torch import optim

    decay = config.weight_decay
    return optim.SGD(parameters, lr=config.learning_rate, momentum=0.9, nesterov=True, weight_decay=decay, fused=fused)


BIAS_RATE = 64
"""How much faster biases learn with ``sgd_fast_bias``."""


@optimizers.register("sgd_fast_bias")
def sgd_fast_bias(parameters: Iterable[Tensor], config: TrainingConfig, fused: bool) -> optim.Optimizer:
    """SGD whose biases learn 64 times as fast, for batch norms in few epochs (Jordan, 2024, section 3.4)."""
    from torch import optim

    parameters = list(parameters)
    decay = config.weight_decay
    groups = [
        {"params": [weight for weight in parameters if weight.ndim > 1], "rate_factor": 1, "weight_decay": decay},
        {
            "params": [bias for bias in parameters if bias.ndim <= 1],
            "rate_factor": BIAS_RATE,
            "weight_decay": decay / BIAS_RATE,
        },
    ]
    groups = [group for group in groups if group["params"]]
    return optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True, fused=fused)


@learning_rate_schedules.register("constant")
def constant(position: float) -> float:
    """The same from beginning to end.

    >>> constant(0.5)
    1.0
    """
    return 1.0


@learning_rate_schedules.register("cosine")
def cosine(position: float) -> float:
    """Falls to 0 along half a cosine (Loshchilov & Hutter, 2017, without restarts).

    >>> round(cosine(0.5), 6)
    0.5
    """
    return (1 + math.cos(math.pi * position)) / 2


@learning_rate_schedules.register("one_cycle")
def one_cycle(position: float) -> float:
    """Rises to its highest value in the first fifth, then falls to 0, both in a line (Smith & Topin, 2018).

    >>> [round(one_cycle(position), 3) for position in (0.0, 0.1, 0.2, 0.6)]
    [0.0, 0.5, 1.0, 0.5]
    """
    return position / WARM_UP if position < WARM_UP else (1 - position) / (1 - WARM_UP)
