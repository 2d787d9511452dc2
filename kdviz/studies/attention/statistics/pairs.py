"""Pairs of models, and how alike their maps are: the rows of agreement.parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.core.language import N_
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
"""Pairs whose difference must come out as nothing, by what takes the place of the true one; to be translated."""

_ELEMENTS = 4_000_000  # pixels of maps that are compared at once: 32 MB a measure
_DIGITS = 4  # of what is written: far below any noise, and a file of a third the size
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
        *((name, pa.float32()) for name in measures),
        *((f"ceiling_{which}_{name}", pa.float32()) for name in measures for which in ("first", "second")),
        ("n_masks", pa.int32()),
    ]
)
"""The schema of agreement.parquet."""


@dataclass(frozen=True)
class MapPair:
    """Two models whose maps are compared.

    Attributes:
        first: A teacher's map, or a shuffled teacher's.
        second: A student's; of a shuffled teacher beside its own, that one's.
        kind: ``claim``, ``own shuffle``, or a key of ``CONTROLS``.
    """

    first: StudyModel
    second: StudyModel
    kind: str = MAIN_EFFECT


def all_pairs(models: Sequence[StudyModel]) -> list[MapPair]:
    """Of every student with its teacher, and of the controls.

    Students alone, and second ones, are compared with each teacher that a KD student of the same place has.
    """
    known = {one.key: one for one in models}
    found: list[MapPair] = []
    for teacher, student in _teachers_and_students(models, known):
        found.append(MapPair(teacher, student, "second" if student.role == SECOND else MAIN_EFFECT))
        if student.role == SECOND:
            continue
        found.append(MapPair(teacher, student, "other"))
        found += [MapPair(shuffle, student, "shuffled") for shuffle in _shuffles_of(teacher, student, models)]
    found += [MapPair(known[one.teacher], one, SANITY) for one in models if one.role == SHUFFLED]
    return found


def _teachers_and_students(
    models: Sequence[StudyModel], known: dict[str, StudyModel]
) -> Iterator[tuple[StudyModel, StudyModel]]:
    """(teacher, student): KD students with their own, students alone with each that KD students of their place have."""
    kd_students = [one for one in models if one.role == "kd_student"]
    for student in kd_students:
        yield known[student.teacher], student
    places = sorted({one.seed or 0 for one in kd_students})
    for role in ("student", SECOND):
        alone = sorted((one for one in models if one.role == role), key=lambda one: one.seed or 0)
        for place, student in zip(places, alone, strict=False):
            teachers = dict.fromkeys(one.teacher for one in kd_students if (one.seed or 0) == place)
            for name in teachers:
                yield known[name], student


def _shuffles_of(teacher: StudyModel, student: StudyModel, models: Sequence[StudyModel]) -> list[StudyModel]:
    """The shuffle of the teacher with the student's seed; a teacher with one only has it for all."""
    own = [one for one in models if one.role == SHUFFLED and one.teacher == teacher.key]
    return [one for one in own if one.seed == student.seed] or own[:1]


def partners(targets: np.ndarray) -> np.ndarray:
    """For each image of a group another one, of another target wherever no class has more than half of the images.

    The images in the order of their targets are moved on by as many places as the most frequent target has. Everyone
    gets one partner and is one; alone in its group, an image has itself.
    """
    order = np.argsort(targets, kind="stable")
    step = int(np.bincount(targets).max())
    step = step if step < len(targets) else 1
    found = np.empty(len(targets), dtype=np.int64)
    found[order] = np.roll(order, -step)
    return found


def agreement_rows(
    maps: GroupMaps, models: Sequence[StudyModel], images: StudyImages, about: dict[str, str], n_masks: int
) -> pa.Table:
    """The rows of a group: pair by pair, image by image.

    Args:
        maps: Of the group.
        models: In the order of the maps.
        images: In the order of the maps.
        about: ``study`` and ``split`` of all rows.
        n_masks: Of each map.
    """
    pairs, partner = all_pairs(models), partners(images.targets)
    place = {one.key: number for number, one in enumerate(models)}
    index = [(place[pair.first.key], place[pair.second.key], pair.kind == "other") for pair in pairs]
    likeness = {name: _measured(maps.halves, index, partner, measures[name]) for name in measures}
    blocks = []
    for number, pair in enumerate(pairs):
        first, second, other = index[number]
        seen = partner if other else np.arange(len(partner))
        columns: dict[str, Any] = dict(_of_pair(pair, len(seen)))
        columns |= {
            "sample": images.samples,
            "label": images.labels,
            "target": images.targets,
            "weight": images.weights,
            "who": images.who,
            "first_sample": images.samples[seen],
            "first_predicted": maps.predicted[first][seen],
            "second_predicted": maps.predicted[second],
            "n_masks": np.full(len(seen), n_masks),
            **{name: np.full(len(seen), text, dtype=object) for name, text in about.items()},
        }
        for name, (across, ceilings) in likeness.items():
            columns[name] = across[number]
            columns[f"ceiling_first_{name}"] = ceilings[first][seen]
            columns[f"ceiling_second_{name}"] = ceilings[second]
        blocks.append(_block(columns))
    return pa.concat_tables(blocks).unify_dictionaries().combine_chunks()


def _of_pair(pair: MapPair, count: int) -> dict[str, list]:
    value = pair.second.value if pair.kind != SANITY else None
    said = {
        "pair": pair.kind,
        "first": pair.first.key,
        "first_role": pair.first.role,
        "first_seed": pair.first.seed,
        "second": pair.second.key,
        "second_role": pair.second.role,
        "second_seed": pair.second.seed,
        "value": _of_teacher(pair) if value is None else value,
    }
    return {name: [one] * count for name, one in said.items()}


def _of_teacher(pair: MapPair) -> float | None:
    """The value of a study that varies the teacher, which a student alone does not have."""
    return pair.first.value if isinstance(pair.first.value, (int, float)) else None


def _block(columns: dict) -> pa.Table:
    arrays = []
    for one in SCHEMA:
        values = columns[one.name]
        if pa.types.is_floating(one.type) and one.name not in ("value", "weight"):
            values = np.round(np.asarray(values, dtype=np.float64), _DIGITS)
        plain = pa.types.is_dictionary(one.type)
        made = pa.array(values, pa.string() if plain else one.type)
        arrays.append(made.dictionary_encode().cast(one.type) if plain else made)
    return pa.table(arrays, schema=SCHEMA)


def _measured(
    halves: np.ndarray, index: Sequence[tuple[int, int, bool]], partner: np.ndarray, measure: Measure
) -> tuple[np.ndarray, np.ndarray]:
    """(pairs, images) across independent halves, the mean of both pairings; (models, images) of each with itself."""
    models, images = halves.shape[:2]
    step = max(1, _ELEMENTS // (models * halves[0, 0].size))
    across = np.empty((len(index), images))
    ceilings = np.empty((models, images))
    for start in range(0, images, step):
        part = slice(start, min(start + step, images))
        own = [_prepared(halves[model, part], measure) for model in range(models)]
        others = {
            first: _prepared(halves[first, partner[part]], measure)
            for first in {first for first, _, other in index if other}
        }
        for model, (one, other) in enumerate(own):
            ceilings[model, part] = measure.compare(one, other)
        for number, (first, second, other) in enumerate(index):
            one = others[first] if other else own[first]
            both = (measure.compare(one[side], own[second][1 - side]) for side in (0, 1))
            across[number, part] = sum(both) / 2
    return across, ceilings


def _prepared(halves: np.ndarray, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """Both halves of some images, (images, 2, H, W), as they are compared."""
    return measure.prepare(halves[:, 0]), measure.prepare(halves[:, 1])
