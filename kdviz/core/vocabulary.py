"""The words that files, addresses and commands share: whose model it is, and which part of the data.

The members are texts: they compare, hash, format and are written to JSON and parquet as the words themselves.
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """The roles that every experiment can have, in the order in which they are shown; a run can have any other name."""

    TEACHER = "teacher"
    KD_STUDENT = "kd_student"
    STUDENT = "student"
    """The student trained without a teacher."""


class Split(StrEnum):
    """The parts of a data set."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    BUNDLED = "bundled"
    """Samples that come with kdviz, where an experiment keeps none of its own."""
