"""What shortcuts.parquet says: who uses the mark, whether the maps show it, and the KD student beside the others.

Intervals are 95 %, over pictures, of one training of each model; see :func:`kdviz.studies.regions.report.mean_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import rankdata

from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment
from kdviz.metrics.separation import auroc_parts
from kdviz.studies.regions.report import Mean, mean_of
from kdviz.studies.shortcuts.series import PictureSeries, Series, read_series
from kdviz.studies.shortcuts.table import SCHEMA, Condition, about_of, conditions_of, read_table

USED = 0.1
"""Least rise of the probability of the mark's class, by the mark, for a picture to count as one where it is used."""

FOUND = 0.95
"""AUROC from which on the maps are said to find a shortcut."""

MARGIN = 0.05
"""Mean use up to which a model is said not to use a shortcut, or two models to use it alike."""

_FEWEST = 10  # pictures where it is used, for an AUROC over them
_PSEUDO = 4.0  # of hits, and of parts of the AUROC, which may all be alike in few pictures
_RESAMPLES = 1000
_BLOCKS = 10  # of resamples, ranked together: all at once take memory


@dataclass(frozen=True)
class RoleUse:
    """What a mark does to the answers of one model.

    Attributes:
        role: Which.
        accuracy: Share of right answers for clean pictures.
        accuracy_own: The same with the mark of the picture's own class.
        accuracy_other: The same with the mark of another class.
        flips: Share of the pictures that get the other class as their answer with its mark, and did not without.
        use: Mean change of the probability of the other class by its mark.
        use_own: Mean change of the probability of the own class by its mark.
    """

    role: str
    accuracy: Mean
    accuracy_own: Mean
    accuracy_other: Mean
    flips: Mean
    use: Mean
    use_own: Mean


@dataclass(frozen=True)
class RoleMaps:
    """Whether the maps of one model by one method show a mark.

    Attributes:
        role, method: Which.
        inside: Mean share of the positive saliency in the region of another class's mark, which the map explains.
        inside_clean: The same of the same pictures without the mark.
        inside_own: The mean share where the mark is that of the own class.
        area: The region's share of the area.
        auroc: How well the share tells pictures with another class's mark from the same ones without, over all
            pictures: .5 for maps that know nothing of it.
        auroc_used: The same over the pictures where the mark is used; None: there are fewer than ten.
    """

    role: str
    method: str
    inside: Mean
    inside_clean: Mean
    inside_own: Mean
    area: float
    auroc: Mean
    auroc_used: Mean | None


@dataclass(frozen=True)
class UseDifference:
    """The KD student less another model, picture by picture, for pictures with another class's mark.

    Attributes:
        less: Role of the other model.
        use, flips: Mean differences; see :class:`RoleUse`.
    """

    less: str
    use: Mean
    flips: Mean


@dataclass(frozen=True)
class LossDifference:
    """A KD student less one that was distilled by another loss, picture by picture.

    Attributes:
        use: Mean difference of the use of the mark; see :class:`RoleUse`.
        inside: Method -> mean difference of the share of its maps inside the mark; see :class:`RoleMaps`.
    """

    use: Mean
    inside: Mapping[str, Mean]

    def to_json(self) -> dict[str, Any]:
        return {"use": self.use.to_json(), "inside": {name: mean.to_json() for name, mean in self.inside.items()}}


@dataclass(frozen=True)
class Rise:
    """Whether a map has more inside where the mark is used more, over pictures of all models.

    Attributes:
        method: Of the maps.
        correlation: Spearman's, of the use and the share inside; ``pictures`` are those of one model.
    """

    method: str
    correlation: Mean


@dataclass(frozen=True)
class ShortcutsReport:
    """One condition of a study of shortcuts.

    Attributes:
        condition: Which mark, in whose training pictures it was, and how the KD student was distilled.
        about: How it was made.
        roles: By role.
        maps: By method and role.
        differences: The KD student less each other model.
        rises: By method.
        points: (Method, role) -> use and share inside of each picture with another class's mark: two arrays (N,).
        beside_soft_targets: The KD student less that of the same condition with softened targets, over the same
            pictures; None: it has these itself, or there is no such condition.
    """

    condition: Condition
    about: Mapping[str, Any]
    roles: tuple[RoleUse, ...]
    maps: tuple[RoleMaps, ...]
    differences: tuple[UseDifference, ...]
    rises: tuple[Rise, ...]
    points: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]
    beside_soft_targets: LossDifference | None = None

    @property
    def shortcut(self) -> str:
        return self.condition.shortcut

    @property
    def shown_to(self) -> str:
        return self.condition.shown_to

    @property
    def loss(self) -> str:
        return self.condition.loss

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.method for entry in self.maps))

    def role(self, role: str) -> RoleUse | None:
        """What the mark does to a model; None: the model is not in the study."""
        return next((entry for entry in self.roles if entry.role == role), None)

    def maps_of(self, role: str, method: str) -> RoleMaps | None:
        """A model's maps by a method; None: there are none."""
        return next((entry for entry in self.maps if (entry.role, entry.method) == (role, method)), None)

    def difference(self, less: str) -> UseDifference | None:
        """The KD student less another model; None: one of them is not in the study."""
        return next((entry for entry in self.differences if entry.less == less), None)

    def to_json(self) -> dict[str, Any]:
        """The numbers, without those of single pictures."""
        return {
            "study": "shortcuts",
            **asdict(self.condition),
            **self.about,
            "beside_soft_targets": None if self.beside_soft_targets is None else self.beside_soft_targets.to_json(),
            **{
                name: [_json_of(entry) for entry in getattr(self, name)]
                for name in ("roles", "maps", "differences", "rises")
            },
        }


def read_shortcut_reports(experiment: Experiment) -> list[ShortcutsReport]:
    """The conditions of shortcuts.parquet, in its order; empty: there is no such table.

    Raises:
        ExperimentError: The table is damaged.
    """
    table = read_table(experiment)
    if table is None:
        return []
    notes = about_of(table)
    arrays = {name: np.array(table[name].to_pylist(), object) for name in SCHEMA.names}
    rows_of: dict[Condition, list[int]] = {}
    for row, condition in enumerate(conditions_of(table)):
        rows_of.setdefault(condition, []).append(row)
    series = {
        condition: read_series({name: values[rows] for name, values in arrays.items()}, experiment)
        for condition, rows in rows_of.items()
    }
    return [_report(condition, notes.get(condition.name, {}), series) for condition in series]


def _report(condition: Condition, about: Mapping[str, Any], all_series: Mapping[Condition, Series]) -> ShortcutsReport:
    series = all_series[condition]
    first = {role: pictures for (_, role), pictures in reversed(series.items())}  # predictions are those of any method
    roles = tuple(dict.fromkeys(role for _, role in series))
    own = first.get(Role.KD_STUDENT)
    return ShortcutsReport(
        condition,
        about,
        tuple(_role_use(role, first[role]) for role in roles),
        tuple(_role_maps(role, method, pictures) for (method, role), pictures in series.items()),
        tuple(
            UseDifference(role, mean_of(own.use - first[role].use), mean_of(own.flips - first[role].flips, _PSEUDO))
            for role in roles
            if own is not None and role != Role.KD_STUDENT
        ),
        tuple(_rise(method, series) for method in dict.fromkeys(method for method, _ in series)),
        {key: (pictures.use, pictures.energy["other planted"]) for key, pictures in series.items()},
        _beside_soft_targets(condition, all_series),
    )


def _beside_soft_targets(condition: Condition, all_series: Mapping[Condition, Series]) -> LossDifference | None:
    softened = replace(condition, loss="")
    if condition == softened or softened not in all_series:
        return None
    reference = all_series[softened]
    pairs = {
        method: (pictures, reference[method, role])
        for (method, role), pictures in all_series[condition].items()
        if role == Role.KD_STUDENT and (method, role) in reference and pictures.is_of(reference[method, role])
    }
    if not pairs:
        return None
    own, other = next(iter(pairs.values()))  # predictions are those of any method
    inside = {method: mean_of(_inside(own) - _inside(other)) for method, (own, other) in pairs.items()}
    return LossDifference(mean_of(own.use - other.use), inside)


def _inside(pictures: PictureSeries) -> np.ndarray:
    """The share of each map inside another class's mark; a map without any positive value has nothing inside."""
    return np.nan_to_num(pictures.energy["other planted"])


def _role_use(role: str, pictures: PictureSeries) -> RoleUse:
    return RoleUse(
        role,
        mean_of(pictures.right("own clean"), _PSEUDO, 0.0),
        mean_of(pictures.right("own planted"), _PSEUDO, 0.0),
        mean_of(pictures.right("other planted"), _PSEUDO, 0.0),
        mean_of(pictures.flips, _PSEUDO, 0.0),
        mean_of(pictures.use),
        mean_of(pictures.use_own),
    )


def _role_maps(role: str, method: str, pictures: PictureSeries) -> RoleMaps:
    planted, clean = pictures.energy["other planted"], pictures.energy["other clean"]
    used = pictures.use >= USED
    return RoleMaps(
        role,
        method,
        mean_of(planted, 0.0, 0.0),
        mean_of(clean, 0.0, 0.0),
        mean_of(pictures.energy["own planted"], 0.0, 0.0),
        float(pictures.area.mean()),
        auroc(planted, clean),
        auroc(planted[used], clean[used]) if used.sum() >= _FEWEST else None,
    )


def auroc(planted: np.ndarray, clean: np.ndarray) -> Mean:
    """How well shares inside tell pictures with a mark from the same ones without, with its 95 % interval.

    Args:
        planted, clean: (N,), of the same pictures. NaN, a map without any positive value, has nothing inside: 0.
    """
    if not len(planted):
        return Mean(float("nan"), float("nan"), float("nan"), 0)
    return mean_of(auroc_parts(np.nan_to_num(planted), np.nan_to_num(clean)), _PSEUDO, 0.0)


def _rise(method: str, series: Series) -> Rise:
    """Spearman's correlation over the pictures of all models, with a bootstrap over pictures."""
    chosen = [pictures for (name, _), pictures in series.items() if name == method]
    use = np.stack([pictures.use for pictures in chosen])
    inside = np.stack([np.nan_to_num(pictures.energy["other planted"]) for pictures in chosen])
    count = use.shape[1]
    value = _spearman(use.reshape(1, -1), inside.reshape(1, -1))[0]
    generator = np.random.default_rng(0)
    resamples = generator.integers(count, size=(_RESAMPLES, count)) if count > 1 else np.empty((0, count), np.int64)
    known = np.concatenate([_resampled(use, inside, rows) for rows in np.array_split(resamples, _BLOCKS)])
    known = known[~np.isnan(known)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (float("nan"), float("nan"))
    return Rise(method, Mean(float(value), float(low), float(high), count))


def _resampled(use: np.ndarray, inside: np.ndarray, resamples: np.ndarray) -> np.ndarray:
    """The correlation (resamples,) of each resample (resamples, pictures) of values (models, pictures)."""
    shape = len(resamples), len(use) * resamples.shape[1]
    return _spearman(*(values[:, resamples].swapaxes(0, 1).reshape(shape) for values in (use, inside)))


def _spearman(use: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The rank correlation (N,) of the rows of two tables (N, values); NaN where all values of a row are the same."""
    first, second = (rankdata(values, axis=1) for values in (use, inside))
    first, second = (ranks - ranks.mean(1, keepdims=True) for ranks in (first, second))
    with np.errstate(invalid="ignore"):
        return (first * second).sum(1) / np.sqrt((first**2).sum(1) * (second**2).sum(1))


def _json_of(entry: Any) -> dict[str, Any]:
    document = asdict(entry)
    for name, value in vars(entry).items():
        if isinstance(value, Mean):
            document[name] = value.to_json()
        elif isinstance(value, float) and value != value:
            document[name] = None
    return document
