"""A loss against a second, differently written implementation: its value, and its gradient by central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

STEP = 1e-5
"""Of the differences, which leave some 1e-10 of float64's values, and the third derivative times 1e-10."""


def assert_same_value_and_gradient(
    loss: Callable[[torch.Tensor], torch.Tensor], formula: Callable[[np.ndarray], float], at: torch.Tensor
) -> None:
    """Value and gradient agree to 1e-6, each relative to its largest number.

    Args:
        loss: The loss, as a function of what is trained.
        formula: The same of an array.
        at: Where they are compared, float64.
    """
    at = at.detach().clone().requires_grad_()
    value = loss(at)
    (gradient,) = torch.autograd.grad(value, at)
    assert float(value.detach()) == pytest.approx(formula(at.detach().numpy()), rel=1e-6, abs=1e-9)
    expected = numerical_gradient(formula, at.detach().numpy())
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def numerical_gradient(formula: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Central differences of a function of an array, of the array's shape."""
    gradient = np.zeros(at.shape)
    for index in np.ndindex(*at.shape):
        sides = []
        for sign in (1, -1):
            moved = at.copy()
            moved[index] += sign * STEP
            sides.append(formula(moved))
        gradient[index] = (sides[0] - sides[1]) / (2 * STEP)
    return gradient
