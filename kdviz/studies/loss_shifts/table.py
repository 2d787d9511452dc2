"""The table of a study of losses on shifted pictures."""

from __future__ import annotations

import pyarrow as pa

from kdviz.core.vocabulary import Role
from kdviz.studies.tables import StudyTable

NAME = "loss_shifts"
"""Name of the table; the study is called ``loss-shifts``."""

_TEXT = pa.dictionary(pa.int16(), pa.string())
SCHEMA = pa.schema(
    [
        ("measure", _TEXT),
        ("shift", _TEXT),
        ("role", _TEXT),
        ("loss", _TEXT),
        ("less", _TEXT),
        ("beyond", pa.bool_()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("p_value", pa.float64()),
        ("p_adjusted", pa.float64()),
    ]
)
"""Of loss_shifts.parquet: one row for a measure of the teacher, of the students alone or of those of a loss, the
mean over seeds and severities; or for its difference to that of the students of another loss or alone (``less``: the
loss, or ``student``) over the same seeds and pictures. ``measure``, ``shift`` and ``beyond`` are those of
shifts.parquet. ``low`` to ``high`` is the 95 % interval over seeds and pictures and ``p_value`` that of no difference,
which in ``p_adjusted`` holds for all losses together, and where a single shift is named for all losses and shifts
together (Holm). What does not apply is null."""

TABLE = StudyTable(NAME, SCHEMA, (Role.TEACHER,))
