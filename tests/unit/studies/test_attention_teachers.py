"""The attention study with several teachers: intervals over teachers, seeds and images, and sentences that hold."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from kdviz.core.errors import SettingError
from kdviz.narrative.attention import markdown
from kdviz.narrative.attention.document import _rows, as_json
from kdviz.narrative.attention.narrative import narrate
from kdviz.studies.attention.maps import GroupMaps, StudyImages
from kdviz.studies.attention.models import StudyModel, shuffles
from kdviz.studies.attention.statistics.agreements import Agreements, Series, read_agreements
from kdviz.studies.attention.statistics.controls import SHARE, Control
from kdviz.studies.attention.statistics.effects import effect_of, match_trainings, pair_contrast
from kdviz.studies.attention.statistics.pairs import agreement_rows
from kdviz.studies.attention.statistics.report import own_value, report_of
from kdviz.studies.attention.statistics.uncertainty import _spread, summarise_effect
from kdviz.studies.attention.statistics.verdicts import RULES, claim_of, verdicts

CLASSES = ("a", "b")
TEACHERS = ("teacher", "teacher, seed 1", "teacher, seed 2")
ABOUT = {"method": "rise", "settings": {"baseline": "black", "n_masks": 1024}, "of": 10000, "split": "test"}


def a_study(
    effects: dict[float, float],
    *,
    teachers: tuple[str, ...] = TEACHERS,
    seeds: int = 3,
    images: int = 200,
    spread: tuple[float, float, float] = (0.01, 0.01, 0.01),
    noise: float = 0.05,
    seed: int = 0,
    controls: dict[str, float] | None = None,
    ceiling: float = 0.95,
) -> Agreements:
    """A study as its table is read: agreements with planted effects, for each value.

    Args:
        spread: Standard deviations of the effect between teachers, between seeds and between trainings.
        controls: Kind -> planted difference.
    """
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    picture = noise * generator.normal(size=images)
    of_teacher = dict(zip(teachers, spread[0] * generator.normal(size=len(teachers)), strict=True))
    of_seed = spread[1] * generator.normal(size=seeds)

    def series(kind, role, value, number, first, second, level):
        agreement = ceiling * (level + picture + noise * generator.normal(size=images))
        ceilings = np.full(images, ceiling)
        predicted = np.where(generator.random(images) < 0.2, 1 - labels, labels)
        taught = np.where(np.arange(images) % 5 == 0, 1 - labels, labels)
        return Series(kind, role, value, number, first, second, agreement, ceilings, ceilings, predicted, taught)

    rows = []
    for teacher in teachers:
        for number in range(seeds):
            alone = f"alone, seed {number}"
            rows.append(series("claim", "student", None, number, teacher, alone, 0.6 - of_seed[number]))
            for value, effect in effects.items():
                level = 0.6 + effect + of_teacher[teacher] + spread[2] * generator.normal()
                key = f"T = {value:g}, seed {number}, {teacher}"
                rows.append(series("claim", "kd_student", value, number, teacher, key, level))
            for kind, level in (controls or {}).items():
                own = level + spread[2] * generator.normal()
                if kind == "second":
                    training = (None, number + seeds, teacher, f"second {number}")
                    rows.append(series(kind, kind, *training, 0.6 - of_seed[number] + own))
                    continue
                first = teacher if kind == "other" else f"{teacher} shuffled, seed {number}"
                rows.append(series(kind, "student", None, number, first, alone, 0.1))
                taught = [(value, number, first, f"T = {value:g}, {number}") for value in effects]
                rows += [series(kind, "kd_student", *training, 0.1 + own) for training in taught]
    who = np.array(["none"] * images)
    return Agreements("pearson", np.arange(images), labels, labels, np.ones(images), who, tuple(rows))


def report(effects, own=4.0, **more):
    margin = more.pop("margin", 0.02)
    return report_of(a_study(effects, **more), "temperature", ABOUT, CLASSES, own, margin)


# the design -----------------------------------------------------------------------------------------------------------


def test_each_student_is_compared_with_its_own_teacher():
    data = a_study({4.0: 0.2})
    kd, alone = data.of("claim", "kd_student", 4.0), data.of("claim", "student", 4.0)
    pairs = match_trainings(kd, alone)
    assert [(first.first, first.seed) for first, _ in pairs] == [(name, seed) for name in TEACHERS for seed in range(3)]
    assert all((first.first, first.seed) == (second.first, second.seed) for first, second in pairs)
    effect = effect_of(data, pair_contrast(kd, alone))
    expected = [(first.agreement.mean() - second.agreement.mean()) / 0.95 for first, second in pairs]
    assert effect.by_training == pytest.approx(expected)
    assert effect.value == pytest.approx(np.mean(expected))
    assert effect.by_teacher == pytest.approx(np.reshape(expected, (3, 3)).mean(1))
    assert effect.by_seed == pytest.approx(np.reshape(expected, (3, 3)).mean(0))
    assert (effect.n_teachers, effect.n_seeds, effect.trainings, effect.n_images) == (3, 3, 9, 200)


def test_shuffled_teachers_belong_to_their_teachers():
    data = a_study({4.0: 0.2}, controls={"shuffled": 0.0, "second": 0.0})
    for kind, roles in (("shuffled", ("kd_student", "student")), ("second", ("second",))):
        for role in roles:
            assert [series.teacher for series in data.of(kind, role, 4.0)] == [
                name for name in TEACHERS for _ in range(3)
            ]
    second = match_trainings(data.of("second", "second", 4.0), data.of("claim", "student", 4.0))
    assert [(other.seed, own.seed) for other, own in second] == [(3, 0), (4, 1), (5, 2)] * 3


def test_a_missing_training_leaves_the_others():
    data = a_study({4.0: 0.2})
    gone = next(
        series
        for series in data.series
        if series.role == "kd_student" and series.training_key == ("teacher, seed 1", 2)
    )
    part = replace(data, series=tuple(series for series in data.series if series is not gone))
    effect = report_of(part, "temperature", ABOUT, CLASSES, 4.0).chosen.difference
    assert effect.trainings == 8
    assert ("teacher, seed 1", 2) not in effect.training_keys
    assert effect.interval.low < 0.2 < effect.interval.high


def test_variances_are_those_of_the_analysis_of_variance():
    """By the sums of squares of a two-way table without replicates (Searle et al., 1992, section 4.7)."""
    table = np.random.default_rng(0).normal(size=(3, 4))
    places = [(f"teacher {k}", s) for k in range(3) for s in range(4)]
    order = np.random.default_rng(1).permutation(12)
    effect = _spread([places[teacher] for teacher in order], table.ravel()[order])
    rows = 4 * ((table.mean(1) - table.mean()) ** 2).sum() / 2
    columns = 3 * ((table.mean(0) - table.mean()) ** 2).sum() / 3
    rest = (((table - table.mean()) ** 2).sum() - rows * 2 - columns * 3) / 6
    assert effect.parts == (pytest.approx((rows / 12, 2)), pytest.approx((columns / 12, 3)))
    assert effect.shared == pytest.approx(rest / 12)


@pytest.mark.parametrize("matched_seeds", [True, False])
def test_a_teacher_for_each_seed_is_a_sample_of_trainings(matched_seeds):
    """As in the study of the teacher's epochs; and one teacher with several seeds."""
    values = np.array([0.1, 0.4, 0.2])
    places = [(f"teacher {seed}" if matched_seeds else "teacher", seed) for seed in range(3)]
    effect = _spread(places, values)
    assert effect.parts == (pytest.approx((values.var(ddof=1) / 3, 2)),)
    assert effect.shared == 0
    assert np.isnan(effect.teachers) == (not matched_seeds)


# coverage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("teachers", [3, 1])
def test_the_interval_covers(teachers):
    """Simulated at variance ratios of .03 to 30: of teachers, seeds, trainings, and images."""
    generator, runs, seeds, covered = np.random.default_rng(7), 150, 3, {}
    settings = [(1, 0.03, 0.03, 0.03), (0.03, 0.03, 1, 0.03), (1, 1, 1, 0.1), (0.03, 0.03, 0.03, 1), (0.1, 1, 1, 30)]
    places = [(f"{k}", s) for k in range(teachers) for s in range(seeds)]
    for of_teacher, of_seed, own, of_image in settings if teachers > 1 else [(0, a, b, c) for _, a, b, c in settings]:
        hits = 0
        for _ in range(runs):
            table = of_teacher**0.5 * generator.normal(size=(teachers, 1)) + of_seed**0.5 * generator.normal(size=seeds)
            table = (table + own**0.5 * generator.normal(size=(teachers, seeds))).ravel()
            images = (of_image**0.5) * generator.normal(size=(101, 1))  # what is true of the images, and replicates
            values = table + images[0]
            interval = summarise_effect(places, values, values + images[1:], 600).interval
            hits += interval.low <= 0 <= interval.high
        covered[of_teacher, of_seed, own, of_image] = hits / runs
    # 95 %: a standard error of sqrt(.95 * .05 / 150) = .018 each, and .008 of the mean of five; 4 and 3 of them.
    # Up to .98 where several parts are as large (see the module); the images' variance is from 100 replicates.
    assert min(covered.values()) > 0.945 - 4 * 0.018, covered
    assert 0.945 - 3 * 0.008 < np.mean(list(covered.values())) < 0.97 + 3 * 0.008, covered


def test_more_teachers_say_more_of_teachers():
    """With one teacher the interval holds for that one: teachers that differ are not seen."""
    wide = report({4.0: 0.2}, spread=(0.1, 0.001, 0.001)).chosen.difference
    narrow = report({4.0: 0.2}, spread=(0.1, 0.001, 0.001), teachers=("teacher",)).chosen.difference
    assert wide.interval.high - wide.interval.low > 5 * (narrow.interval.high - narrow.interval.low)
    assert wide.teacher_error > 5 * wide.seed_error


# controls -------------------------------------------------------------------------------------------------------------


def a_control(difference: float, effect: float, spread: float = 0.001) -> Control:
    places = [("teacher", seed) for seed in range(3)]
    steps, still = spread * np.array([-1.0, 0.0, 1.0]), np.zeros((200, 3))
    made = [summarise_effect(places, values + steps, values + steps + still, 500) for values in (difference, effect)]
    return Control("second", "second student alone", 4.0, 0.6, *made)


def test_a_control_passes_by_a_quarter_of_the_effect():
    assert a_control(0.0, 0.2).outcome == "passed"
    assert not a_control(0.0, 0.2).small
    assert a_control(0.02, 0.2).small  # 10 %, and surely not zero
    assert a_control(0.02, 0.2).share == pytest.approx(0.1)
    assert a_control(0.2 / 3, 0.2).outcome == "failed"  # a third of the effect is no pass
    assert a_control(-0.2 / 3, 0.2).outcome == "failed"
    assert a_control(0.05, 0.2).outcome == "cannot tell"  # exactly at the bound
    assert a_control(0.0, 0.2, spread=0.05).outcome == "cannot tell"  # zero is in the interval, and much else is
    assert a_control(0.0, 0.2, spread=0.05).difference.interval.has_zero
    nothing = a_control(0.0, 0.0)
    assert np.isnan(nothing.bound)
    assert nothing.outcome == "cannot tell"
    assert SHARE < 1 / 3


def test_controls_are_reported_for_every_value():
    study_report = report({1.0: 0.0, 4.0: 0.2, 16.0: 0.3}, controls={"second": 0.0, "shuffled": 0.02, "other": 0.1})
    outcomes = {(control.kind, control.value): control.outcome for control in study_report.all_controls}
    assert set(outcomes) == {(kind, value) for kind in ("second", "shuffled", "other") for value in (1.0, 4.0, 16.0)}
    assert outcomes["other", 4.0] == "failed"
    assert outcomes["second", 16.0] == "passed"
    assert {outcomes[kind, 1.0] for kind in ("second", "shuffled", "other")} == {"cannot tell"}
    text = " ".join(narrate(study_report).controls)
    assert "Controls at T = 1: second student alone: cannot tell; " in text
    assert "Controls at T = 16: second student alone: passed; " in text
    assert "Controls at T = 4" not in text  # said at length
    rows = [row for row in _rows(study_report) if row["what"] == "control"]
    assert {(row["part"], row["value"]): row["outcome"] for row in rows} == {
        (control.name, control.value): control.outcome for control in study_report.all_controls
    }


# words held against numbers -------------------------------------------------------------------------------------------

NUMBER = r"([+-]?\d+\.\d+)"
INTERVAL = rf"{NUMBER} \(95 % interval {NUMBER} to {NUMBER}\)"


def numbers(text: str, pattern: str) -> tuple[float, ...]:
    match = re.search(pattern, text)
    assert match, text
    return tuple(map(float, match.groups()))


CASES = {
    "three teachers": {"effects": {1.0: 0.0, 4.0: 0.2, 16.0: 0.25}},
    "one teacher": {"effects": {1.0: 0.0, 4.0: 0.2}, "teachers": ("teacher",)},
    "further": {"effects": {4.0: -0.2}},
    "nothing, precisely": {"effects": {4.0: 0.0}, "spread": (0.0005, 0.0005, 0.0005), "noise": 0.005},
    "nothing, vaguely": {"effects": {4.0: 0.01}, "spread": (0.1, 0.1, 0.1)},
    "one training": {"effects": {4.0: 0.3}, "teachers": ("teacher",), "seeds": 1},
    "one seed, three teachers": {"effects": {4.0: 0.2}, "seeds": 1},
}
OUTCOMES = {
    "three teachers": "closer",
    "one teacher": "closer",
    "further": "further",
    "nothing, precisely": "as close",
    "nothing, vaguely": "cannot be told",
    "one training": "cannot be told",
    "one seed, three teachers": "closer",
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    given = dict(CASES[request.param])
    controls = {"second": 0.0, "shuffled": 0.002, "other": 0.02}
    return request.param, report(given.pop("effects"), controls=controls, **given)


def test_the_claim_says_its_numbers(case):
    name, study_report = case
    words, difference = narrate(study_report), study_report.chosen.difference
    assert words.outcome == OUTCOMES[name]
    said = words.sentences[0]
    assert numbers(said, INTERVAL) == pytest.approx(
        (difference.value, difference.interval.low, difference.interval.high), abs=6e-4
    )
    levels = numbers(said, rf"agree with the teacher's by {NUMBER}, those of the student alone by {NUMBER}")
    assert levels == pytest.approx((study_report.chosen.kd.value, study_report.chosen.alone.value), abs=6e-4)
    assert levels[0] - levels[1] == pytest.approx(difference.value, abs=1.1e-3)
    seeds = "1 seed" if study_report.seeds == 1 else f"{study_report.seeds} seeds"
    teachers = "1 teacher" if study_report.teachers == 1 else f"{study_report.teachers} teachers"
    assert f"{study_report.images} images, {seeds} and {teachers}" in said
    assert ("There is one teacher in it: other teachers may teach otherwise." in words.limits) == (
        study_report.teachers == 1
    )


def test_the_claim_follows_its_rule(case):
    name, study_report = case
    for effect in study_report.values:
        said = claim_of(effect.difference, study_report.margin, effect.value)
        low, high, inner = said.low, said.high, (said.inner_low, said.inner_high)
        if effect.difference.trainings == 1:
            expected = ("cannot be told", "trainings")
        elif max(map(abs, inner)) < said.margin:
            expected = ("as close", "equivalence")
        elif low > 0 or high < 0:
            expected = ("closer" if low > 0 else "further", "difference")
        else:
            expected = ("cannot be told", "neither")
        assert (said.outcome, said.rule) == expected, name
        assert low < inner[0] < said.value < inner[1] < high
        assert said.rule in RULES


def test_first_sentences_withhold_what_is_not_known(case):
    name, study_report = case
    first = narrate(study_report).sentences[0]
    assert first.startswith("One training of each student cannot tell") == (name == "one training")
    assert ("cannot be told to teach where to look with 200 images" in first) == (name == "nothing, vaguely")
    assert ("hardly changes where the student looks" in first) == (name == "nothing, precisely")
    if name == "nothing, precisely":
        assert f"margin of ±{study_report.margin:.3f}" in first
        low, high = numbers(first, rf"90 % interval, {NUMBER} to {NUMBER}, lies within the margin")
        assert -study_report.margin < low < high < study_report.margin
    assert first.startswith("Distillation at T = 4 teaches where to look:") == (OUTCOMES[name] == "closer")


def test_sizes_are_those_of_single_trainings(case):
    _, study_report = case
    words = narrate(study_report)
    said = [sentence for sentence in words.sentences if sentence.startswith("In single trainings")]
    assert bool(said) == (words.outcome in ("closer", "further"))
    if not said:
        return
    size, away = study_report.chosen.size, words.outcome == "further"
    shares = [100 * (1 - share if away else share) for share in size.by_training_superiority]
    shown = numbers(said[0], r"on (\d+)% of the images \((\d+)% to (\d+)%, in (\d+) training")
    assert shown == pytest.approx((np.mean(shares), min(shares), max(shares), len(shares)), abs=0.51)
    d = numbers(said[0], rf"differences of {NUMBER} \({NUMBER} to {NUMBER}\)")
    assert d == pytest.approx((size.d_z, min(size.by_training_d_z), max(size.by_training_d_z)), abs=6e-3)


def test_controls_say_their_numbers(case):
    _, study_report = case
    said = narrate(study_report).controls
    for control in study_report.controls:
        begins = {"second": "A second student", "shuffled": "A teacher with", "other": "The teacher's maps of"}
        text = next(sentence for sentence in said if sentence.startswith(begins[control.kind]))
        difference = control.difference
        expected = (difference.value, difference.interval.low, difference.interval.high)
        assert numbers(text, INTERVAL) == pytest.approx(expected, abs=6e-4)
        bounded = re.search(rf"90 % interval, {NUMBER} to {NUMBER}, (lies|reaches).*±{NUMBER}\.", text)
        assert bool(bounded) == (control.bound > 0 and difference.trainings > 1)
        if bounded:
            low, high, bound = (float(bounded.group(group)) for group in (1, 2, 4))
            assert bound == pytest.approx(abs(study_report.chosen.difference.value) / 4, abs=6e-4)
            assert ("lies within" in text) == (-bound < low and high < bound) == control.passed
            assert ("small but not zero" in text) == control.small
        else:
            assert "cannot tell" in text


def test_changes_say_their_numbers():
    study_report = report({1.0: 0.0, 4.0: 0.2, 16.0: 0.201})
    text = " ".join(narrate(study_report).dependence)
    first = numbers(text, rf"T = 1 to T = 4: {NUMBER} \({NUMBER} to {NUMBER}\)")
    step = study_report.steps[0]
    assert first == pytest.approx((step.effect.value, step.together.low, step.together.high), abs=6e-4)
    assert "these differ (p < .05 for all pairs together, Holm): T = 1 and T = 4, T = 1 and T = 16." in text
    assert "These cannot be told apart: T = 4 and T = 16." in text
    assert "doubling" not in text
    nothing = " ".join(narrate(report({1.0: 0.0, 4.0: 0.0}, seed=1)).dependence)
    assert "No two values can be told apart" in nothing
    single = " ".join(narrate(report({1.0: 0.0, 4.0: 0.2}, teachers=("teacher",), seeds=1)).dependence)
    assert "One training of each cannot tell these values apart." in single


def test_no_effect_is_hardly_ever_an_effect():
    """Of 40 studies of nothing: 95 % intervals exclude zero in 2, with a standard error of 1.4; four of them more."""
    told = 0
    for seed in range(40):
        data = a_study({4.0: 0.0}, images=60, seed=seed)
        pair = (data.of("claim", role, 4.0) for role in ("kd_student", "student"))
        effect = effect_of(data, pair_contrast(*pair), replicates=200)
        told += claim_of(effect, 1e-6).outcome != "cannot be told"
    assert told <= 2 + 4 * 1.4


def test_how_many_trainings_would_tell():
    study_report = report({4.0: 0.05}, spread=(0.05, 0.02, 0.05))
    claim = verdicts(study_report)[0]
    assert claim.outcome == "cannot be told"
    assert claim.enough > claim.trainings / 3
    assert f"about {claim.enough} trainings would tell" in narrate(study_report).sentences[1]
    assert verdicts(report({4.0: 0.2}))[0].enough is None


def test_the_margin_is_the_readers():
    strict = report({4.0: 0.03}, spread=(0.001, 0.001, 0.001))
    assert strict.margin == 0.02
    assert narrate(strict).outcome == "closer"
    assert narrate(replace(strict, margin=0.1)).outcome == "as close"
    for wrong in (0.0, -1.0, 1.0, float("nan")):
        with pytest.raises(SettingError, match="margin of agreement"):
            report({4.0: 0.1}, margin=wrong)


def test_noisy_maps_are_doubted():
    assert not any("noisy" in sentence for sentence in narrate(report({4.0: 0.2})).limits)
    limits = narrate(report({4.0: 0.2}, ceiling=0.7)).limits
    assert any("The maps are noisy (equal maps would reach 0.70)" in sentence for sentence in limits)


# documents ------------------------------------------------------------------------------------------------------------


def test_the_document_has_every_verdict(case):
    _, study_report = case
    document = json.loads(json.dumps(as_json(study_report), allow_nan=False))
    assert (document["teachers"], document["seeds"], document["images"]) == (
        study_report.teachers,
        study_report.seeds,
        study_report.images,
    )
    assert len(document["verdicts"]) == len(study_report.values) + len(study_report.all_controls)
    for verdict, said in zip(document["verdicts"], verdicts(study_report), strict=True):
        assert (verdict["outcome"], verdict["rule"]) == (said.outcome, said.rule)
        assert verdict["rule"] in document["rules"]


def test_a_table_row_for_the_overview():
    """What another page reads: Pearson's corrected difference, with its verdict; ranks have no corrected rows."""
    study_report = report({1.0: 0.0, 4.0: 0.2})
    rows = [row for row in _rows(study_report) if (row["what"], row["part"]) == ("difference", "corrected")]
    assert [(row["value"], row["outcome"], row["margin"]) for row in rows][1] == (4.0, "closer", 0.02)
    assert rows[1]["teachers"] == 3
    assert rows[1]["by_teacher"] == list(study_report.chosen.difference.by_teacher)
    ranks = report_of(replace(a_study({4.0: 0.2}), measure="spearman"), "temperature", ABOUT, CLASSES, 4.0)
    assert {row["part"] for row in _rows(ranks) if row["what"] == "difference"} == {"raw"}
    assert ranks.chosen.difference.value == ranks.chosen.raw.value
    assert "with the masks' noise in it" in narrate(ranks).sentences[0]


def test_markdown_is_made_of_the_tables_figures(monkeypatch):
    study_report = report({1.0: 0.0, 4.0: 0.2}, controls={"second": 0.0, "other": 0.02})
    monkeypatch.setattr(markdown, "studies_of", lambda experiment: ["temperature"])
    monkeypatch.setattr(markdown, "read_attention", lambda experiment, name, measure: study_report)
    monkeypatch.setattr(markdown, "faithfulness_summary", lambda experiment: [])
    text = markdown.attention_markdown(None)
    chosen = study_report.chosen
    row = next(line for line in text.splitlines() if line.startswith("| T = 4 |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert float(cells[1]) == pytest.approx(chosen.kd.value, abs=6e-4)
    assert float(cells[2]) == pytest.approx(chosen.alone.value, abs=6e-4)
    shown = [float(each.replace("−", "-")) for each in re.findall(r"[+−-]?\.\d{3}", cells[3])]
    expected = [chosen.difference.value, chosen.difference.interval.low, chosen.difference.interval.high]
    assert shown == pytest.approx(expected, abs=6e-4)
    assert cells[4] == "closer"
    assert "200 images, 3 seeds and 3 teachers, of 10,000 test images, 1,024 masks an image" in text
    assert text.count("| second student alone |") == 2
    assert "nan" not in text


def test_the_table_of_several_teachers_is_read():
    """Through the rows of agreement.parquet, as the engine writes them."""
    keys = [*TEACHERS[:2]]
    models = [StudyModel(key, "teacher", "none", b"", seed=seed or None) for seed, key in enumerate(keys)]
    models += [
        StudyModel(f"T = 4, seed {seed}, of {key}", "kd_student", "none", b"", key, "temperature", 4.0, seed)
        for key in keys
        for seed in (0, 1)
    ]
    models += [
        StudyModel(f"alone, seed {seed}", "student", "none", b"", "", "temperature", None, seed) for seed in (0, 1)
    ]
    models += [
        StudyModel(f"alone, seed {seed}", "second", "none", b"", "", "temperature", None, seed) for seed in (2, 3)
    ]
    models += [model for teacher in models[:2] for model in shuffles(teacher, [0, 1])]
    images, generator = 24, np.random.default_rng(0)
    true = {model.key: generator.normal(size=(images, 8, 8)) for model in models}
    for model in models:
        if model.role == "kd_student":
            true[model.key] += 2 * true[model.teacher]
    halves = np.stack([true[model.key][:, None] + 0.2 * generator.normal(size=(images, 2, 8, 8)) for model in models])
    labels = np.arange(images) % 2
    known = StudyImages(np.arange(images), labels, labels, np.ones(images), ["none"] * images)
    maps = GroupMaps(halves, np.tile(labels, (len(models), 1)).astype(np.int16))
    table = agreement_rows(maps, models, known, {"study": "temperature", "split": "test"}, 100)
    study_report = report_of(read_agreements(table, "temperature"), "temperature", ABOUT, CLASSES, 4.0)
    effect = study_report.chosen.difference
    assert effect.training_keys == tuple((key, seed) for key in keys for seed in (0, 1))
    # A KD student's map is 2 / sqrt(5) its own teacher's; of the other teacher's it would be 0.
    assert effect.value == pytest.approx(2 / np.sqrt(5), abs=0.05)
    assert {control.kind: control.difference.trainings for control in study_report.controls} == {
        "second": 4,
        "shuffled": 4,
        "other": 4,
    }
    assert "24 images, 2 seeds and 2 teachers" in narrate(study_report).sentences[0]


def test_a_study_is_judged_at_the_value_of_the_experiments_own_models():
    agreements = a_study({0.1: 0.2, 0.5: 0.2, 0.9: 0.2})
    assert report_of(agreements, "alpha", ABOUT, CLASSES, 0.9).chosen.value == 0.9
    assert report_of(agreements, "alpha", ABOUT, CLASSES, 0.7).chosen.value == 0.5  # not studied: the one in the middle
    runs = {
        "teacher": SimpleNamespace(training={"epochs": 12}),
        "kd_student": SimpleNamespace(training={"epochs": 20, "alpha": 0.9, "temperature": 4.0}),
    }
    own = [
        own_value(SimpleNamespace(runs=runs), study) for study in ("alpha", "temperature", "teacher-epochs", "models")
    ]
    assert own == [0.9, 4.0, 12, None]
