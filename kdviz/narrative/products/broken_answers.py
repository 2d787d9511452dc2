"""How many right answers a step of compression broke, in words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kdviz.compress.cost import wilson
from kdviz.core.language import N_, _, percent, plural
from kdviz.metrics import paired_difference, paired_shares
from kdviz.studies.comparison.judgement import points_interval
from kdviz.studies.compression.names import SEED
from kdviz.studies.compression.report import LESS, MORE, UNKNOWN, side
from kdviz.studies.predictions.broken_by_steps import MadeRun, broken
from kdviz.studies.predictions.mistakes import Predictions

_BESIDE_SEED = {
    MORE: N_("It broke more than another seed breaks, '{null}': {value} points (95 % interval {low} to {high})."),
    LESS: N_("It broke fewer than another seed breaks, '{null}': {value} points (95 % interval {low} to {high})."),
    UNKNOWN: N_(
        "One cannot tell whether it broke more than another seed, '{null}': {value} points (95 % interval {low} to "
        "{high})."
    ),
}


def broken_sentences(predictions: Predictions, run: MadeRun, made: Iterable[MadeRun]) -> list[str]:
    """What a step broke and mended over all samples, and whether another seed breaks as much.

    Args:
        predictions: Predictions with labels.
        run: The run that the step made.
        made: All runs that were made from others; one with another seed of the same parent is the null.
    """
    gone = broken(predictions, run)
    low, high = wilson(float(gone.mean()), len(gone))
    mended = int((predictions.right(run.role) & ~predictions.right(run.parent)).sum())
    counts = _(
        "Of {samples} it broke {broken}, {share} (95 % interval {low} to {high}), and mended {mended}.",
        samples=plural("{count} sample", "{count} samples", len(gone)),
        broken=plural("{count} right answer", "{count} right answers", int(gone.sum())),
        mended=plural("{count} error", "{count} errors", mended),
        share=percent(float(gone.mean()), 2),
        low=percent(low, 2),
        high=percent(high, 2),
    )
    nulls = [other for other in made if (other.parent, other.step) == (run.parent, SEED) and other.role != run.role]
    return [counts, _beside(predictions, run, nulls)] if nulls and run.step != SEED else [counts]


def _beside(predictions: Predictions, run: MadeRun, nulls: list[MadeRun]) -> str:
    own, others = broken(predictions, run), np.stack([broken(predictions, null) for null in nulls])
    one = len(nulls) == 1
    difference = paired_shares(others[0], own) if one else paired_difference(others, np.broadcast_to(own, others.shape))
    value, low, high = points_interval(difference.value, difference.low, difference.high)
    names = "', '".join(null.role for null in nulls)
    return _(_BESIDE_SEED[side(difference)], null=names, value=value, low=low, high=high)
