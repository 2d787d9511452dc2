"""Pairs of models and the agreement of their maps: the rows of agreement.parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.core.language import N_
from kdviz.core.vocabulary import Role
from kdviz.metrics.similarity import Measure, measures
from kdviz.studies.attention.maps import GroupMaps, StudyImages
from kdviz.studies.attention.models import SECOND, SHUFFLED, StudyModel

MAIN_EFFECT = "claim"
SANITY = "own shuffle"
CONTROLS = {
    "second": N_("second student alone"),
    "shuffled": N_("shuffled teacher"),
    "other": N_("maps of other images"),
}
"""Pairs whose difference should be zero -> what takes the place of the true model or maps; to be translated."""

_ELEMENTS = 4_000_000  # pixels of maps that are compared at once: 32 MB a measure
_DIGITS = 4  # decimals that are written: far below any noise, and the file has a third of the size
_NAME = pa.dictionary(pa.int16(), pa.string())

SCHEMA = pa.schema(
    [
        ("study", _NAME),
        ("split", _NAME),
        ("sample", pa.int32()),
        ("label", pa.int16()),
        ("target", pa.int16()),
        ("weight", pa.float32()),
        ("who", _NAME),
        ("pair", _NAME),
        ("first", _NAME),
        ("first_role", _NAME),
        ("first_seed", pa.int32()),
        ("first_sample", pa.int32()),
        ("first_predicted", pa.int16()),
        ("second", _NAME),
        ("second_role", _NAME),
        ("second_seed", pa.int32()),
        ("second_predicted", pa.int16()),
        ("value", pa.float64()),
        ("value_name", _NAME),
        *((name, pa.float32()) for name in measures),
        *((f"ceiling_{which}_{name}", pa.float32()) for name in measures for which in ("first", "second")),
        ("n_masks", pa.int32()),
    ]
)
"""The schema of agreement.parquet; ``value_name`` is the value of a study whose values are names, as of losses."""


def in_schema(table: pa.Table) -> pa.Table:
    """Rows as the schema has them now: those of an earlier version have no names of values."""
    missing = [column for column in SCHEMA if column.name not in table.column_names]
    for column in missing:
        table = table.append_column(column, pa.nulls(len(table), pa.string()).dictionary_encode().cast(column.type))
    return table.select(SCHEMA.names).cast(SCHEMA)


@dataclass(frozen=True)
class MapPair:
    """Two models whose maps are compared.

    Attributes:
        first: A teacher, or a shuffled teacher.
        second: A student; for ``own shuffle`` the shuffled teacher.
        kind: ``claim``, ``own shuffle``, or a key of ``CONTROLS``.
    """

    first: StudyModel
    second: StudyModel
    kind: str = MAIN_EFFECT


def all_pairs(models: Sequence[StudyModel]) -> list[MapPair]:
    """The pairs of every student with its teacher, and those of the controls.

    Students alone, and second ones, are compared with each teacher of the KD students with the seed of the same rank.
    """
    by_key = {model.key: model for model in models}
    pairs: list[MapPair] = []
    for teacher, student in _teachers_and_students(models, by_key):
        pairs.append(MapPair(teacher, student, "second" if student.role == SECOND else MAIN_EFFECT))
        if student.role == SECOND:
            continue
        pairs.append(MapPair(teacher, student, "other"))
        pairs += [MapPair(shuffle, student, "shuffled") for shuffle in _shuffles_of(teacher, student, models)]
    pairs += [MapPair(by_key[model.teacher], model, SANITY) for model in models if model.role == SHUFFLED]
    return pairs


def _teachers_and_students(
    models: Sequence[StudyModel], by_key: dict[str, StudyModel]
) -> Iterator[tuple[StudyModel, StudyModel]]:
    """(teacher, student): KD students with their own, students alone with those of the KD students of their seed."""
    kd_students = [model for model in models if model.role == Role.KD_STUDENT]
    for student in kd_students:
        yield by_key[student.teacher], student
    seeds = sorted({model.seed or 0 for model in kd_students})
    for role in (Role.STUDENT, SECOND):
        alone = sorted((model for model in models if model.role == role), key=lambda model: model.seed or 0)
        for seed, student in zip(seeds, alone, strict=False):
            teachers = dict.fromkeys(model.teacher for model in kd_students if (model.seed or 0) == seed)
            for key in teachers:
                yield by_key[key], student


def _shuffles_of(teacher: StudyModel, student: StudyModel, models: Sequence[StudyModel]) -> list[StudyModel]:
    """The shuffle of the teacher with the student's seed, or its first one where none has that seed."""
    shuffles = [model for model in models if model.role == SHUFFLED and model.teacher == teacher.key]
    return [model for model in shuffles if model.seed == student.seed] or shuffles[:1]


def partners(targets: np.ndarray) -> np.ndarray:
    """For each image of a group another one, with another target unless one target has more than half of the images.

    The images, ordered by target, are shifted by the count of the most frequent target. Each image gets one partner
    and is one; an image alone in its group is its own partner.
    """
    order = np.argsort(targets, kind="stable")
    step = int(np.bincount(targets).max())
    step = step if step < len(targets) else 1
    partner = np.empty(len(targets), dtype=np.int64)
    partner[order] = np.roll(order, -step)
    return partner


def agreement_rows(
    maps: GroupMaps, models: Sequence[StudyModel], images: StudyImages, about: dict[str, str], n_masks: int
) -> pa.Table:
    """The rows of a group, pair by pair and image by image.

    Args:
        maps: The maps of the group.
        models: The models, in the order of the maps.
        images: The images, in the order of the maps.
        about: ``study`` and ``split`` of all rows.
        n_masks: Number of masks of each map.
    """
    pairs, partner = all_pairs(models), partners(images.targets)
    position = {model.key: index for index, model in enumerate(models)}
    indices = [(position[pair.first.key], position[pair.second.key], pair.kind == "other") for pair in pairs]
    likeness = {name: _compare(maps.halves, indices, partner, measures[name]) for name in measures}
    blocks = []
    for row, pair in enumerate(pairs):
        first, second, other = indices[row]
        first_images = partner if other else np.arange(len(partner))
        columns: dict[str, Any] = dict(_pair_columns(pair, len(first_images)))
        columns |= {
            "sample": images.samples,
            "label": images.labels,
            "target": images.targets,
            "weight": images.weights,
            "who": images.who,
            "first_sample": images.samples[first_images],
            "first_predicted": maps.predicted[first][first_images],
            "second_predicted": maps.predicted[second],
            "n_masks": np.full(len(first_images), n_masks),
            **{name: np.full(len(first_images), text, dtype=object) for name, text in about.items()},
        }
        for name, (across, ceilings) in likeness.items():
            columns[name] = across[row]
            columns[f"ceiling_first_{name}"] = ceilings[first][first_images]
            columns[f"ceiling_second_{name}"] = ceilings[second]
        blocks.append(_block(columns))
    return pa.concat_tables(blocks).unify_dictionaries().combine_chunks()


def _pair_columns(pair: MapPair, count: int) -> dict[str, list]:
    value = pair.second.value if pair.kind != SANITY else None
    value = _teacher_value(pair) if value is None else value
    is_name = isinstance(value, str)
    columns = {
        "pair": pair.kind,
        "first": pair.first.key,
        "first_role": pair.first.role,
        "first_seed": pair.first.seed,
        "second": pair.second.key,
        "second_role": pair.second.role,
        "second_seed": pair.second.seed,
        "value": None if is_name else value,
        "value_name": value if is_name else None,
    }
    return {name: [entry] * count for name, entry in columns.items()}


def _teacher_value(pair: MapPair) -> float | None:
    """The value of a study that varies the teacher, which a student alone does not have."""
    return pair.first.value if isinstance(pair.first.value, (int, float)) else None


def _block(columns: dict) -> pa.Table:
    arrays = []
    for column in SCHEMA:
        values = columns[column.name]
        if pa.types.is_floating(column.type) and column.name not in ("value", "weight"):
            values = np.round(np.asarray(values, dtype=np.float64), _DIGITS)
        is_text = pa.types.is_dictionary(column.type)
        array = pa.array(values, pa.string() if is_text else column.type)
        arrays.append(array.dictionary_encode().cast(column.type) if is_text else array)
    return pa.table(arrays, schema=SCHEMA)


def _compare(
    halves: np.ndarray, indices: Sequence[tuple[int, int, bool]], partner: np.ndarray, measure: Measure
) -> tuple[np.ndarray, np.ndarray]:
    """Agreement across independent halves, (pairs, images), the mean of both pairings; ceilings, (models, images)."""
    models, images = halves.shape[:2]
    step = max(1, _ELEMENTS // (models * halves[0, 0].size))
    across = np.empty((len(indices), images))
    ceilings = np.empty((models, images))
    for start in range(0, images, step):
        part = slice(start, min(start + step, images))
        prepared = [_prepare_halves(halves[model, part], measure) for model in range(models)]
        others = {
            first: _prepare_halves(halves[first, partner[part]], measure)
            for first in {first for first, _, other in indices if other}
        }
        for model, (first_half, second_half) in enumerate(prepared):
            ceilings[model, part] = measure.compare(first_half, second_half)
        for row, (first, second, other) in enumerate(indices):
            prepared_first = others[first] if other else prepared[first]
            both = (measure.compare(prepared_first[side], prepared[second][1 - side]) for side in (0, 1))
            across[row, part] = sum(both) / 2
    return across, ceilings


def _prepare_halves(halves: np.ndarray, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """Both halves of some images, (images, 2, H, W), prepared for the comparison."""
    return measure.prepare(halves[:, 0]), measure.prepare(halves[:, 1])
