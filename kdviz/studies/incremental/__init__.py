"""New classes for a network that knows others: what it learns, and what it forgets."""

from kdviz.studies.incremental.report import IncrementalReport, read_incremental_report
from kdviz.studies.incremental.study import IncrementalStudy

__all__ = ["IncrementalReport", "IncrementalStudy", "read_incremental_report"]
