"""Whether distillation teaches where to look: agreement of maps over a whole test set.

The work is split into groups of 32 images (:mod:`.maps`): a group is one file of maps, float16 halves of every model,
and one of rows; it is done once, on any machine, and needs the memory of a group. The table is written as a stream, and
its statistics are sums over images, taken in blocks.

An estimate for a million images. Three models at 2,000 masks are 6 * 10^9 forward passes. Small networks such as
MNIST's do some 10^6 a second on a GPU, which makes 1.7 hours on one; MobileNetV2 at 224 px does some 15,000, which
makes 111 hours of GPU, or 1.7 hours on 64 of them, an actor on each taking one group after the other (31,250 of them,
so that all stay busy to the end, and a machine that fails costs half a minute). A map of 28 x 28 is 3 kB: 9 GB for
three models, in files of 300 kB. One of 224 x 224 is 200 kB, 600 GB in all; but a map is a sum of shifted cells of a
7 x 7 grid, so smooth that every fourth pixel suffices, which makes 38 GB. agreement.parquet has 7 rows an image, some
20 bytes each: 140 MB. For more than 20,000 images the bootstrap draws fewer replicates, since its intervals are then
those of a normal variable.
"""

from kdviz.core.moved import renamed
from kdviz.studies.attention.models import StudyModel, own_models, shuffles, sweep_for, swept_models
from kdviz.studies.attention.statistics.report import MARGIN, AttentionReport, read_attention, studies_of
from kdviz.studies.attention.statistics.verdicts import RULES, AttentionVerdict, verdicts
from kdviz.studies.attention.study import AttentionStudy, MapsProgress
from kdviz.studies.attention.teachers import seeds_of_teacher, sweep_of_teacher, teacher_runs, train_teachers

__all__ = [
    "MARGIN",
    "RULES",
    "AttentionReport",
    "AttentionStudy",
    "AttentionVerdict",
    "MapsProgress",
    "StudyModel",
    "own_models",
    "read_attention",
    "seeds_of_teacher",
    "shuffles",
    "studies_of",
    "sweep_for",
    "sweep_of_teacher",
    "swept_models",
    "teacher_runs",
    "train_teachers",
    "verdicts",
]

__getattr__ = renamed(__name__, {"Verdict": "AttentionVerdict"})
