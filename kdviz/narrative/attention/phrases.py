"""Parts of sentences about effects: intervals and counts, in the reader's language."""

from __future__ import annotations

from typing import Any

from kdviz.core.language import _, plural, signed
from kdviz.studies.attention.statistics.uncertainty import Effect


def counts_of(effect: Effect) -> str:
    """The numbers of images, seeds and teachers behind an effect."""
    return _(
        "{images}, {seeds} and {teachers}",
        images=plural("{count} image", "{count} images", effect.n_images),
        seeds=plural("{count} seed", "{count} seeds", effect.n_seeds),
        teachers=plural("{count} teacher", "{count} teachers", effect.n_teachers),
    )


def with_interval(effect: Effect) -> str:
    return _(
        "{value} (95 % interval {low} to {high})",
        value=signed(effect.value, 3),
        low=signed(effect.interval.low, 3),
        high=signed(effect.interval.high, 3),
    )


def range_of(low: float, high: float) -> str:
    return _("{low} to {high}", low=signed(low, 3), high=signed(high, 3))


def gain_over_blurred_picture(row: dict[str, Any], area: str) -> str:
    """How much better a method is than the blurred picture, with its interval.

    Args:
        row: Of :func:`kdviz.studies.attention.faithfulness.faithfulness_summary`.
        area: ``deletion`` or ``insertion``.
    """
    low, high = (signed(row[f"{area}_gain_{end}"], 3) for end in ("low", "high"))
    return f"{signed(row[f'{area}_gain'], 3)} [{low}, {high}]"
