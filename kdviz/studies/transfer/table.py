"""The table of a study of what distillation transferred."""

from __future__ import annotations

import pyarrow as pa

from kdviz.core.vocabulary import Role
from kdviz.studies.tables import StudyTable

NAME = "transfer"
"""Name of the table."""

CKA, CONFUSIONS, INHERITED = "cka", "confusions", "inherited"
"""What a row measures: likeness of two layers, of dark knowledge, or the teacher's errors that are repeated."""

SIMILARITY, RELEVANCE = "feature_similarity", "relevance"
"""UniCAM's scores: distance correlation of a layer with the teacher's, and with the true classes."""

UNIQUE = {SIMILARITY: "unique_similarity", RELEVANCE: "unique_relevance"}
"""The same of what a student has beyond the other one, KD student or alone, whose features are partialled out."""

SCORES = (*UNIQUE, *UNIQUE.values())
"""All measures by distance correlation. Tables of earlier versions have none of them."""

UNTRAINED = "untrained"
"""The role of a student's network with random weights, which says what likeness there is without any training."""

_TEXT = pa.dictionary(pa.int16(), pa.string())
SCHEMA = pa.schema(
    [
        ("measure", _TEXT),
        ("role", _TEXT),
        ("less", _TEXT),
        ("teacher_layer", _TEXT),
        ("layer", _TEXT),
        ("teacher_depth", pa.int16()),
        ("depth", pa.int16()),
        ("counterpart", pa.bool_()),
        ("temperature", pa.float32()),
        ("label", pa.int16()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("inner_low", pa.float64()),
        ("inner_high", pa.float64()),
        ("together", pa.int16()),
        ("count", pa.int32()),
        ("shuffled", pa.float64()),
        ("shuffled_high", pa.float64()),
        ("within", pa.float64()),
    ]
)
"""Of transfer.parquet: one row for a measure of a model beside its teacher, or for its difference to that of another
model (``less``). ``low`` to ``high`` is a 95 % interval and ``inner_low`` to ``inner_high`` one of 90 %; ``together``
is the number of intervals that hold at once. ``shuffled`` and ``within`` are means with pictures paired at random,
among all and within their class; ``shuffled_high`` is what 95 % of the former do not exceed. What does not apply is
null."""

TABLE = StudyTable(NAME, SCHEMA, (Role.TEACHER, Role.KD_STUDENT, Role.STUDENT))
