"""Losses on shifted pictures: with which of them a student is still right, and still answers as its teacher does."""

from kdviz.studies.loss_shifts.report import LossShiftsReport, read_loss_shifts
from kdviz.studies.loss_shifts.study import LossShiftsStudy

__all__ = ["LossShiftsReport", "LossShiftsStudy", "read_loss_shifts"]
