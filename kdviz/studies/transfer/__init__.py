"""What distillation transferred: the layers, confusions and errors of the teacher that its student has."""

from kdviz.studies.transfer.report import TransferReport, read_transfer_report
from kdviz.studies.transfer.study import TransferStudy

__all__ = ["TransferReport", "TransferStudy", "read_transfer_report"]
