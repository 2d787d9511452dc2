"""The table of a study of shifted pictures."""

from __future__ import annotations

import pyarrow as pa

from kdviz.core.vocabulary import Role
from kdviz.studies.tables import StudyTable

NAME = "shifts"
"""Name of the table."""

ACCURACY, AGREEMENT = "accuracy", "agreement"
"""What a row measures: share of right answers, or of answers that are the teacher's."""

MEASURES = (ACCURACY, AGREEMENT)

UNSHIFTED, ALL = "", "*"
"""Instead of a shift's name: the pictures as they are, and the mean over all shifts."""

SECOND = "second"
"""The role of a second student alone, of another training, whose difference to the first is chance of the training."""

_TEXT = pa.dictionary(pa.int16(), pa.string())
SCHEMA = pa.schema(
    [
        ("measure", _TEXT),
        ("shift", _TEXT),
        ("severity", pa.int8()),
        ("role", _TEXT),
        ("less", _TEXT),
        ("beyond", pa.bool_()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("p_value", pa.float64()),
        ("p_adjusted", pa.float64()),
    ]
)
"""Of shifts.parquet: one row for a measure of a model at a shift and severity, or for its difference to that of another
model (``less``) of the same pictures. ``severity`` is null for the mean over all and for pictures that are not shifted.
``beyond`` says that the difference on the unshifted pictures is taken from it. ``low`` to ``high`` is the 95 % interval
over pictures and ``p_value`` that of no difference, which in ``p_adjusted`` holds for all shifts together (Holm). What
does not apply is null."""

TABLE = StudyTable(NAME, SCHEMA, (Role.TEACHER, Role.KD_STUDENT, Role.STUDENT))
