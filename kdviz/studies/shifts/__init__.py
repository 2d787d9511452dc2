"""Models on shifted pictures: who is still right, and who still answers as the teacher does."""

from kdviz.studies.shifts.report import ShiftsReport, read_shifts_report
from kdviz.studies.shifts.study import ShiftsStudy, second_student

__all__ = ["ShiftsReport", "ShiftsStudy", "read_shifts_report", "second_student"]
