"""Roles of models and splits of data sets, as files, addresses and commands name them.

The members are strings: they compare, hash and format like their values, and are written to JSON and parquet as these.
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
    PHOTOGRAPHS = "photographs"
    """Photographs of no data set, with which an experiment opens whose own pictures may not be passed on."""
