"""What distillation transferred: likeness of layers, confusions and errors to the teacher's, beside the student alone."""

from kdviz.studies.transfer.report import TransferReport, read_transfer_report
from kdviz.studies.transfer.study import TransferStudy

__all__ = ["TransferReport", "TransferStudy", "read_transfer_report"]
