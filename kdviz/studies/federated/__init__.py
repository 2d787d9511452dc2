"""Clients that share answers about public pictures, and neither pictures nor weights."""

from kdviz.studies.federated.report import FederatedReport, read_federated_report
from kdviz.studies.federated.shares import class_shares
from kdviz.studies.federated.study import FederatedStudy

__all__ = ["FederatedReport", "FederatedStudy", "class_shares", "read_federated_report"]
