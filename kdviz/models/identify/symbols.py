"""Symbolic shapes: sides of a network's tensors that depend on the classes, the input's channels, or its size.

A side is an ``int``, or a text: ``"K*4+1"`` (K classes), ``"C*64+0"`` (C input channels) or ``"S*1,0,256/256"``, which
is (1 S^2 + 0 S + 256) / 256 for an input of S x S.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import isqrt, lcm

Side = int | str
"""One side of a tensor's shape: a number, or how it depends on an unknown."""

CLASSES, CHANNELS, SIZE = "K", "C", "S"


def linear(symbol: str, values: tuple[int, int], sides: tuple[int, int]) -> str:
    """The symbolic side that takes the given lengths for two values of an unknown.

    Args:
        symbol: ``CLASSES`` or ``CHANNELS``.
        values: Two values of the unknown.
        sides: Length of the side for each.

    Raises:
        ValueError: The length does not grow linearly, by an integer factor.
    """
    factor, remainder = divmod(sides[1] - sides[0], values[1] - values[0])
    offset = sides[0] - factor * values[0]
    if remainder or factor < 1 or offset < 0:
        raise ValueError(f"{sides} does not follow {symbol} = {values}")
    return f"{symbol}*{factor}+{offset}"


def quadratic(sizes: Sequence[int], sides: Sequence[int]) -> str:
    """The symbolic side that takes the given lengths for some sizes of the input.

    Args:
        sizes: Three sizes or more.
        sides: Length of the side for each.

    Raises:
        ValueError: The length is no polynomial of the second degree.
    """
    (x0, x1, x2), (y0, y1, y2) = sizes[:3], sides[:3]
    first, second = Fraction(y1 - y0, x1 - x0), Fraction(y2 - y1, x2 - x1)
    square = (second - first) / (x2 - x0)
    slope = first - square * (x0 + x1)
    offset = y0 - square * x0**2 - slope * x0
    if any(square * x**2 + slope * x + offset != y for x, y in zip(sizes, sides, strict=True)):
        raise ValueError(f"{sides} is not quadratic in {sizes}")
    scale = lcm(square.denominator, slope.denominator, offset.denominator)
    return f"{SIZE}*{int(square * scale)},{int(slope * scale)},{int(offset * scale)}/{scale}"


def solve(side: str, value: int) -> int | None:
    """The value of the unknown for which ``side`` is ``value``; None if no positive integer is.

    >>> solve("K*1+0", 10), solve("C*64+0", 192), solve("S*1,0,256/256", 577)
    (10, 3, 384)
    """
    text, _, expression = side.partition("*")
    if text != SIZE:
        factor, _, offset = expression.partition("+")
        unknown, remainder = divmod(value - int(offset), int(factor))
        return unknown if not remainder and unknown > 0 else None
    terms, _, scale = expression.partition("/")
    square, slope, offset = (int(term) for term in terms.split(","))
    return _root(square, slope, offset - value * int(scale))


def _root(square: int, slope: int, offset: int) -> int | None:
    """The positive integer x with square x^2 + slope x + offset = 0, if there is one."""
    if not square:
        root, remainder = divmod(-offset, slope) if slope else (0, 1)
        return root if not remainder and root > 0 else None
    discriminant = slope**2 - 4 * square * offset
    if discriminant < 0 or isqrt(discriminant) ** 2 != discriminant:
        return None
    root, remainder = divmod(isqrt(discriminant) - slope, 2 * square)
    return root if not remainder and root > 0 else None
