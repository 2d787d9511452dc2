"""Parts of sentences about effects: intervals and counts, in the reader's language."""

from __future__ import annotations

from typing import Any

from kdviz.core.language import _, interval_digits, plural, signed, signed_interval
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
    value, low, high = signed_interval(effect.value, effect.interval.low, effect.interval.high, 3)
    return _("{value} (95 % interval {low} to {high})", value=value, low=low, high=high)


def range_of(low: float, high: float) -> str:
    digits = interval_digits(low, high, 3)
    return _("{low} to {high}", low=signed(low, digits), high=signed(high, digits))


def gain_over_blurred_picture(row: dict[str, Any], area: str) -> str:
    """How much better a method is than the blurred picture, with its interval.

    Args:
        row: Of :func:`kdviz.studies.attention.faithfulness.faithfulness_summary`.
        area: ``deletion`` or ``insertion``.
    """
    gain = f"{area}_gain"
    value, low, high = signed_interval(row[gain], row[f"{gain}_low"], row[f"{gain}_high"], 3)
    return f"{value} [{low}, {high}]"
