"""The statistics of a study of regions, and what is said of them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from kdviz.core.errors import DatasetError, ExperimentError
from kdviz.data import LabelledImages
from kdviz.data.regions import Regions
from kdviz.data.regions.regions import DrawnRegion
from kdviz.data.regions.shapes import Box
from kdviz.metrics.localisation import PlaceTotals
from kdviz.narrative.regions import region_sentences
from kdviz.studies.regions.pictures import choose_pictures, taken_from
from kdviz.studies.regions.report import mean_of, read_regions_report
from kdviz.studies.regions.study import ABOUT, NAME, SCHEMA, measured

ROLES = ("teacher", "kd_student", "student")
_MORE = "It is not the place alone: of its maps of other pictures 20.0% lies inside"


def write_rows(experiment, energies, count=40, seed=0, area=0.2, by_place=0.2):
    """A table whose mean energies are known, by role."""
    generator = np.random.default_rng(seed)
    common = generator.normal(0, 0.05, count)
    rows = []
    for role, energy in energies.items():
        values = energy + common + generator.normal(0, 0.01, count)
        for sample in range(count):
            about = {"split": "test", "sample": sample, "label": 1, "target": 1, "role": role, "method": "rise"}
            answer = {"predicted": sample % 2, "right": sample % 2 == 1}
            measures = {"energy": values[sample], "pointing": 1.0, "area": area, "chance": 0.01}
            measures |= dict.fromkeys(("others_inside", "inside_others"), by_place if count > 1 else float("nan"))
            rows.append({**about, **answer, **measures})
    table = pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata({ABOUT: json.dumps({"pictures": count})})
    experiment.write_table(NAME, table)
    return {role: [row["energy"] for row in rows if row["role"] == role] for role in energies}


def test_means_and_paired_differences(tiny):
    values = write_rows(tiny, {"teacher": 0.5, "kd_student": 0.45, "student": 0.4})
    report = read_regions_report(tiny)
    own = report.role("kd_student", "rise")
    assert own.energy.value == pytest.approx(np.mean(values["kd_student"]))
    error = np.std(values["kd_student"], ddof=1) / 40**0.5
    assert own.energy.high - own.energy.low == pytest.approx(2 * 2.0227 * error, rel=1e-3)  # t of 39 degrees
    assert own.energy_gain.value == pytest.approx(own.energy.value - 0.2, abs=1e-6)
    assert report.role("kd_student", "rise", "wrong").energy.pictures == 20
    difference = report.difference("student", "rise")
    paired = np.subtract(values["kd_student"], values["student"])
    assert difference.energy.value == pytest.approx(paired.mean())
    spread = 2 * 2.0227 * paired.std(ddof=1) / 40**0.5
    assert difference.energy.high - difference.energy.low == pytest.approx(spread, rel=1e-3)
    assert own.pointing.value == 1
    assert own.pointing.low < 0.95  # 40 hits of 40 are no proof of a hit in every picture
    assert own.singled_out == 1
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("energies", "starts"),
    [
        (
            {"kd_student": 0.4, "student": 0.3, "teacher": 0.4},
            ["The KD student looks at", _MORE, "More of", "One cannot tell"],
        ),
        (
            {"kd_student": 0.1, "student": 0.1, "teacher": 0.3},
            ["The KD student looks away", "Its maps of other", "One cannot", "Less of"],
        ),
        (
            {"kd_student": 0.2, "student": 0.3, "teacher": 0.1},
            ["One cannot tell whether the", "One cannot tell whether it is more than the place", "Less of", "More of"],
        ),
        ({"kd_student": 0.4, "teacher": 0.4}, ["The KD student looks at", _MORE, "One cannot tell"]),
    ],
)
def test_sentences_are_held_to_their_intervals(tiny, energies, starts):
    write_rows(tiny, energies, seed=3)
    report = read_regions_report(tiny)
    *sentences, last = region_sentences(report)
    assert [sentence.startswith(start) for sentence, start in zip(sentences, starts, strict=True)] == [True] * len(
        starts
    ), sentences
    assert last.startswith("Intervals are over pictures")


def test_one_picture_proves_nothing(tiny):
    write_rows(tiny, {"kd_student": 0.9, "student": 0.1}, count=1)
    report = read_regions_report(tiny)
    assert region_sentences(report)[0].startswith("One cannot tell")
    json.dumps(report.to_json(), allow_nan=False)


def test_a_damaged_table_is_named(tiny):
    tiny.write_table(NAME, pa.table({"sample": [1]}))
    with pytest.raises(ExperimentError, match="kdviz study --study regions"):
        read_regions_report(tiny)


def _beta(mean, size):
    return lambda generator, shape: generator.beta(mean * size, (1 - mean) * size, shape)


@pytest.mark.parametrize(
    ("draw", "mean", "pseudo", "least"),
    [
        (_beta(0.4, 6), 0.4, 0.0, 0.94),
        (_beta(0.1, 4), 0.1, 0.0, 0.86),
        (lambda generator, shape: generator.normal(0.05, 0.1, shape), 0.05, 0.0, 0.945),
        (lambda generator, shape: generator.random(shape) < 0.9, 0.9, 4.0, 0.94),
        (lambda generator, shape: generator.random(shape) < 0.5, 0.5, 4.0, 0.94),
    ],
)
@pytest.mark.parametrize("count", [8, 30, 100])
def test_intervals_cover(draw, mean, pseudo, least, count):
    samples = draw(np.random.default_rng(count), (2000, count)).astype(float)
    means = [mean_of(values, pseudo) for values in samples]
    covered = np.mean([interval.low <= mean <= interval.high for interval in means])
    assert covered >= least - 3 * (least * (1 - least) / 2000) ** 0.5, covered


def place_report(tiny, rng, follows, count=24, side=12):
    """The report of maps around the middle, or around the picture's own region where they follow it."""
    rows, columns = np.mgrid[:side, :side]
    at = rng.normal(side / 2, 1.2, (count, 2))
    regions = ((abs(rows - at[:, :1, None]) < 2) & (abs(columns - at[:, 1:, None]) < 2)).astype(float)
    looks = follows * (at - side / 2) + rng.normal(side / 2, 0.8, (count, 2))
    maps = np.exp(-((rows - looks[:, :1, None]) ** 2 + (columns - looks[:, 1:, None]) ** 2) / 8)
    measures = measured(maps, regions, PlaceTotals.of(maps, regions))
    about = {"split": "test", "label": 1, "target": 1, "role": "kd_student", "method": "rise", "predicted": 1}
    table = pa.Table.from_pylist(
        [
            {**about, "sample": number, "right": True, **{name: values[number] for name, values in measures.items()}}
            for number in range(count)
        ],
        SCHEMA,
    )
    tiny.write_table(NAME, table.replace_schema_metadata({ABOUT: b"{}"}))
    return read_regions_report(tiny).role("kd_student", "rise")


def test_maps_around_the_middle_are_not_said_to_find_regions_there(tiny):
    rng, runs = np.random.default_rng(0), 100
    reports = [place_report(tiny, rng, 0.0) for _ in range(runs)]
    assert all(report.energy_gain.low > 0 for report in reports)  # beside the area it looks as if they did
    covered = np.mean([report.place_gain.low <= 0 <= report.place_gain.high for report in reports])
    # .95, with standard error sqrt(.95 * .05 / 100) = .022; Student's t of 24 pictures may be a little wide.
    assert covered > 0.95 - 3 * 0.015
    spread = np.std([report.place_gain.value for report in reports])
    width = np.mean([report.place_gain.high - report.place_gain.low for report in reports]) / (2 * 2.07 * spread)
    assert 0.85 < width < 1.2  # the interval is as wide as the spread over runs, which errs by 1 / sqrt(200)


def test_maps_that_follow_their_pictures_are(tiny):
    role_regions = place_report(tiny, np.random.default_rng(1), 1.0)
    assert role_regions.place_gain.low > 0


def some_regions(boxes, size=(4, 4)):
    drawn = {name: DrawnRegion(name, (box,)) for name, box in boxes.items()}
    return Regions({str(number): size for number in range(6)}, drawn)


def test_pictures_are_chosen_among_those_with_a_region(small_digits):
    samples = LabelledImages(
        small_digits.images[:6], small_digits.labels[:6], small_digits.classes, "test", tuple("012345")
    )
    nothing, some = Box(0.6, 0.6, 1.4, 1.4), Box(0, 0, 2, 1)  # the first holds no pixel's centre
    regions = some_regions({"1": some, "2": nothing, "4": some, "5": some})
    chosen = choose_pictures(samples.names, regions, taken_from(samples), lambda mask: mask * 1.0, 6)
    assert chosen.numbers.tolist() == [1, 4, 5]
    assert chosen.empty == 1
    assert chosen.samples.names == ("1", "4", "5")
    assert chosen.regions.sum((1, 2)).tolist() == [2, 2, 2]
    assert len(choose_pictures(samples.names, regions, taken_from(samples), lambda mask: mask * 1.0, 2)) == 2
    with pytest.raises(DatasetError, match="Only 1 of 6 pictures have a region"):
        choose_pictures(samples.names, some_regions({"1": some, "2": nothing}), taken_from(samples), np.asarray, 6)
