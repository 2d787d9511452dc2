"""Of single pictures, the share of each model's positive saliency that lies inside the picture's region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kdviz.core.files import rows_where
from kdviz.experiment import Experiment
from kdviz.studies.regions.table import read_table


@dataclass(frozen=True)
class RegionShares:
    """Shares of some pictures by one method, as a study of regions found them.

    Attributes:
        method: Method of the maps.
        inside: Role -> float (N,), the share inside; NaN where a picture has no region, or its map nothing positive.
        area: Float (N,), the region's share of the picture, which a map reaches by chance; NaN likewise.
    """

    method: str
    inside: Mapping[str, np.ndarray]
    area: np.ndarray


def read_region_shares(experiment: Experiment, split: str, numbers: np.ndarray) -> list[RegionShares]:
    """Read regions.parquet for some pictures: one entry a method, in the table's order; empty without any picture.

    Args:
        experiment: The experiment.
        split: Split of the pictures.
        numbers: Int (N,), their numbers in the split; all are different.

    Raises:
        ExperimentError: The table is damaged.
    """
    table = read_table(experiment)
    if table is None:
        return []
    table = rows_where(table, "split", split)
    columns = {name: np.array(table[name].to_pylist(), object) for name in ("method", "role")}
    # Rounded, or a stored share of 0.2, which is float32, would be above 0.2.
    values = {name: table[name].to_numpy().astype(float).round(6) for name in ("energy", "area")}
    order = np.argsort(numbers, kind="stable")
    samples, ordered = table["sample"].to_numpy(), numbers[order]
    places = np.searchsorted(ordered, samples)
    known = ordered[np.minimum(places, len(numbers) - 1)] == samples
    shares = []
    for method in dict.fromkeys(columns["method"][known]):
        of_method = known & (columns["method"] == method)
        inside = {
            role: _placed(values["energy"], of_method & (columns["role"] == role), order, places)
            for role in dict.fromkeys(columns["role"][of_method])
        }
        shares.append(RegionShares(method, inside, _placed(values["area"], of_method, order, places)))
    return shares


def _placed(values: np.ndarray, rows: np.ndarray, order: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Float (N,): the values of some rows, each at its picture; NaN elsewhere."""
    placed = np.full(len(order), np.nan)
    placed[order[places[rows]]] = values[rows]
    return placed
