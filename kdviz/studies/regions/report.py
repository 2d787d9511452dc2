"""What regions.parquet says: means over pictures and paired differences between models, with 95 % intervals.

The pictures are a random sample; an interval is Student's, over pictures. It says nothing about other trainings of the
same models. Shares that hardly differ get 4 added to their sum of squares, as in
:func:`kdviz.metrics.paired_difference`, as otherwise a few equal pictures would look certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment
from kdviz.metrics.uncertainty import crossed_variances, interval_of
from kdviz.studies.regions.table import ABOUT, NAME, SCHEMA, read_table
from kdviz.studies.tables import notes_of

MEASURES = ("energy", "pointing")
SUBSETS = ("all", "right", "wrong")
"""All pictures, and those that the model answers rightly or wrongly."""

_NUMBERS = (*MEASURES, "area", "chance", "others_inside", "inside_others")
_PSEUDO = {"energy": 0.0, "pointing": 4.0}  # hits may all be alike in few pictures


@dataclass(frozen=True)
class Mean:
    """A mean over pictures with its 95 % interval.

    Attributes:
        value: The mean; NaN without pictures.
        low, high: The interval; NaN with fewer than two pictures.
        pictures: Their number.
    """

    value: float
    low: float
    high: float
    pictures: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, Any]:
        """The numbers; None for what is not known."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class RoleRegions:
    """One model's maps by one method, over some pictures.

    Attributes:
        role, method: Which.
        subset: One of :data:`SUBSETS`, by the model's own answers.
        energy, pointing: Means of the measures; see :mod:`kdviz.metrics.localisation`.
        area: Mean share of the area.
        energy_gain, pointing_gain: Mean of the measure less the area's share, which a map reaches by chance.
        by_place: Mean energy of the model's maps of other pictures in a picture's region.
        place_gain: Mean of the energy less that: what depends on the picture, and not on the place alone.
        singled_out: Share of the pictures whose energy has a chance of 5 % or less; 5 % for a map that knows nothing.
    """

    role: str
    method: str
    subset: str
    energy: Mean
    pointing: Mean
    area: float
    energy_gain: Mean
    pointing_gain: Mean
    by_place: float
    place_gain: Mean
    singled_out: float

    def to_json(self) -> dict[str, Any]:
        """Means as mappings."""
        return _json_of(self)


@dataclass(frozen=True)
class RoleDifference:
    """The KD student less another model, picture by picture.

    Attributes:
        less: Role of the other model.
        method: Of the maps.
        subset: One of :data:`SUBSETS`, by the KD student's answers.
        energy, pointing: Mean differences.
    """

    less: str
    method: str
    subset: str
    energy: Mean
    pointing: Mean

    def to_json(self) -> dict[str, Any]:
        """Means as mappings."""
        return _json_of(self)


@dataclass(frozen=True)
class RegionsReport:
    """A study of regions.

    Attributes:
        about: How it was made: pictures, settings, what was left out.
        roles: By method, role and subset.
        differences: By method, other role and subset.
    """

    about: Mapping[str, Any]
    roles: tuple[RoleRegions, ...]
    differences: tuple[RoleDifference, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.method for entry in self.roles))

    def role(self, role: str, method: str, subset: str = "all") -> RoleRegions | None:
        """The means of a model; None: it has no maps by this method."""
        wanted = (role, method, subset)
        return next((entry for entry in self.roles if (entry.role, entry.method, entry.subset) == wanted), None)

    def difference(self, less: str, method: str, subset: str = "all") -> RoleDifference | None:
        """The KD student less another model; None: one of them has no maps by this method."""
        wanted = (less, method, subset)
        return next((entry for entry in self.differences if (entry.less, entry.method, entry.subset) == wanted), None)

    def to_json(self) -> dict[str, Any]:
        """The study as JSON."""
        return {
            "study": NAME,
            **self.about,
            "roles": [entry.to_json() for entry in self.roles],
            "differences": [entry.to_json() for entry in self.differences],
        }


def read_regions_report(experiment: Experiment) -> RegionsReport | None:
    """Read regions.parquet; None: there is none.

    Raises:
        ExperimentError: The table is damaged.
    """
    table = read_table(experiment)
    if table is None:
        return None
    about = notes_of(table, ABOUT)
    series = _series(table)
    roles = [_role(*key, columns, subset) for key, columns in series.items() for subset in SUBSETS]
    differences = [
        _difference(method, less, series[method, Role.KD_STUDENT], columns, subset)
        for (method, less), columns in series.items()
        if less != Role.KD_STUDENT and (method, Role.KD_STUDENT) in series
        for subset in SUBSETS
    ]
    return RegionsReport(about, tuple(roles), tuple(differences))


Columns = Mapping[str, np.ndarray]


def _series(table: pa.Table) -> dict[tuple[str, str], Columns]:
    """(Method, role) -> columns, in the order of the samples."""
    arrays = {name: np.array(table[name].to_pylist(), object) for name in SCHEMA.names}
    keys = dict.fromkeys(zip(arrays["method"], arrays["role"], strict=True))
    return {key: _columns(arrays, key) for key in keys}


def _columns(arrays: Mapping[str, np.ndarray], key: tuple[str, str]) -> Columns:
    rows = np.flatnonzero((arrays["method"] == key[0]) & (arrays["role"] == key[1]))
    rows = rows[np.argsort(arrays["sample"][rows].astype(np.int64))]
    columns = {name: arrays[name][rows].astype(float) for name in _NUMBERS}
    answers = {"right": arrays["right"][rows] == True, "wrong": arrays["right"][rows] == False}  # noqa: E712  not None
    return {**columns, "all": np.ones(len(rows), bool), **answers}


def _role(method: str, role: str, columns: Columns, subset: str) -> RoleRegions:
    chosen = columns[subset].astype(bool)
    values = {name: columns[name][chosen] for name in _NUMBERS}
    means = {name: mean_of(values[name], _PSEUDO[name], 0.0) for name in MEASURES}
    gains = {f"{name}_gain": mean_of(values[name] - values["area"], _PSEUDO[name]) for name in MEASURES}
    known = values["chance"][~np.isnan(values["chance"])]
    singled_out = float((known <= 0.05).mean()) if len(known) else float("nan")
    area = float(values["area"].mean()) if chosen.any() else float("nan")
    position = {"by_place": _mean(values["others_inside"]), "place_gain": _place_gain(values)}
    return RoleRegions(role, method, subset, area=area, singled_out=singled_out, **means, **gains, **position)


def _place_gain(values: Columns) -> Mean:
    """The mean of the energy less that of other pictures' maps, with its interval.

    A picture also counts by what its map has in the other pictures' regions: both are averages over pairs of pictures,
    and the interval is that of their first-order terms (Hoeffding, 1948, eq. 5.13), whose mean is the same.
    """
    inside_others = values["inside_others"]
    terms = values["energy"] - values["others_inside"] - (inside_others - _mean(inside_others))
    return mean_of(terms)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _difference(method: str, less: str, own: Columns, other: Columns, subset: str) -> RoleDifference:
    chosen = own[subset].astype(bool)
    means = {name: mean_of((own[name] - other[name])[chosen], _PSEUDO[name]) for name in MEASURES}
    return RoleDifference(less, method, subset, **means)


def mean_of(values: np.ndarray, pseudo: float = 0.0, lowest: float = -1.0) -> Mean:
    """The mean of shares, or of differences of shares, over pictures, with its 95 % interval.

    Student's t. Over 8 to 200 pictures it covers 94 to 95 % where shares are about symmetric, 96 to 100 % of hits, and
    88 (8 pictures), 92 (30) and 94 % (100) where shares crowd near 0, around a mean of .1; simulated in
    ``tests/unit/studies/test_region_report.py``.

    Args:
        values: (n,); NaN is left out.
        pseudo: Added to the sum of squares, for shares that may be all alike.
        lowest: The lowest possible value; the highest is 1.
    """
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return Mean(float(values[0]) if len(values) else float("nan"), float("nan"), float("nan"), len(values))
    _, variance, _ = crossed_variances(values[None], pseudo)
    mean = float(values.mean())
    low, high = interval_of(mean, [(variance, len(values) - 1)])
    return Mean(mean, max(lowest, float(low)), min(1.0, float(high)), len(values))


def _json_of(entry: RoleRegions | RoleDifference) -> dict[str, Any]:
    document = {}
    for name, value in vars(entry).items():
        plain = None if isinstance(value, float) and value != value else value
        document[name] = value.to_json() if isinstance(value, Mean) else plain
    return document
