"""Checks of a data set, and of a model on it: finds what looks wrong and words it.

A :class:`Doubt` is data (kind, model, split and figures) together with one sentence made of it. It is raised only where
there are enough samples to support it. Training prints doubts before a student is trained, ``kdviz evaluate`` prints
them beside its figures, and the pages show those that were recorded.
"""

from kdviz.data.doubts.answers import answer_doubts, normalisation_doubt, unpredicted, weighed
from kdviz.data.doubts.copies import copies, digests
from kdviz.data.doubts.doubt import Doubt
from kdviz.data.doubts.record import KEY, of_data, of_predictions, record_doubts, recorded_doubts

__all__ = [
    "KEY",
    "Doubt",
    "answer_doubts",
    "copies",
    "digests",
    "normalisation_doubt",
    "of_data",
    "of_predictions",
    "record_doubts",
    "recorded_doubts",
    "unpredicted",
    "weighed",
]
