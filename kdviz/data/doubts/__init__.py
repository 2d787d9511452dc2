"""What looks wrong with a data set, or with a model on it: the one place where doubts are found and put into words.

A :class:`Doubt` is data (its kind, which model, which split, figures) and one sentence made of it. Each is raised only
where there are samples enough to say it. Training says them before a student learns, ``kdviz evaluate`` beside its
figures, and the pages show what was kept.
"""

from kdviz.data.doubts.answers import answer_doubts, normalisation_doubt, unpredicted, weighed
from kdviz.data.doubts.copies import copies, digests
from kdviz.data.doubts.doubt import Doubt
from kdviz.data.doubts.record import KEY, known, of_data, of_predictions, remember

__all__ = [
    "KEY",
    "Doubt",
    "answer_doubts",
    "copies",
    "digests",
    "known",
    "normalisation_doubt",
    "of_data",
    "of_predictions",
    "remember",
    "unpredicted",
    "weighed",
]
