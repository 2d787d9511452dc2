"""What clients gain by sharing answers, from federated.parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.metrics import Difference, paired_difference

TABLE = "federated"
FEDMD, ALONE, CENTRAL = "fedmd", "alone", "central"
LABEL = "label"


@dataclass(frozen=True)
class FederatedReport:
    """A federated study. Accuracies are those of the mean client, on the test split of all classes.

    Attributes:
        clients, concentration, rounds, public: As in :class:`kdviz.studies.federated.study.FederatedStudy`.
        seeds: Number of seeds.
        fedmd, alone, central: Mean accuracy of the clients with FedMD, of each alone, and of one model that has the
            samples of all.
        gain: Accuracy of the mean client with FedMD less that of the same clients alone, over seeds and samples: the
            clients of one seed learn from each other, and are no independent draws.
        short: Accuracy with FedMD less that of the model of all samples, likewise.
    """

    clients: int
    concentration: float
    rounds: int
    public: int
    seeds: int
    fedmd: float
    alone: float
    central: float
    gain: Difference
    short: Difference


def read_federated_report(experiment: Experiment) -> FederatedReport | None:
    """The report of an experiment; None without the table.

    Raises:
        ExperimentError: The table is damaged.
    """
    if not experiment.has_table(TABLE):
        return None
    rows = experiment.table(TABLE).to_pylist()
    labels = next((np.array(row["predicted"]) for row in rows if row["method"] == LABEL), None)
    of_client = {
        method: {
            (row["seed"], row["client"]): np.array(row["predicted"]) == labels
            for row in rows
            if row["method"] == method
        }
        for method in (FEDMD, ALONE, CENTRAL)
    }
    fedmd, alone = of_client[FEDMD], of_client[ALONE]
    central = {seed: right for (seed, _), right in of_client[CENTRAL].items()}
    if not fedmd or fedmd.keys() != alone.keys() or {seed for seed, _ in fedmd} != central.keys():
        raise ExperimentError("This experiment's {table}.parquet is damaged; make it anew.", table=TABLE)
    with_fedmd, by_itself = (_mean_client(table, sorted(central)) for table in (fedmd, alone))
    of_all = np.array([central[seed] for seed in sorted(central)], float)
    first = rows[0]
    return FederatedReport(
        first["clients"],
        first["concentration"],
        first["rounds"],
        first["public"],
        len(central),
        float(with_fedmd.mean()),
        float(by_itself.mean()),
        float(of_all.mean()),
        paired_difference(by_itself, with_fedmd),
        paired_difference(of_all, with_fedmd),
    )


def _mean_client(right: Mapping[tuple[int, int], np.ndarray], seeds: Sequence[int]) -> np.ndarray:
    """Share of the clients that are right: (seeds, samples), from (seed, client) -> where it is."""
    return np.array([np.mean([table for (of, _), table in right.items() if of == seed], 0) for seed in seeds])
