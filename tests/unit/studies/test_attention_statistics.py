"""The statistics of the attention study, on maps that are made up: what is planted must come out, and nothing else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from scipy import stats
from study_maps import CLASSES, TEMPERATURES, made_up, made_up_table

from kdviz import figures
from kdviz.core.errors import ExperimentError
from kdviz.metrics import paired_difference
from kdviz.metrics.uncertainty import simultaneous_level
from kdviz.narrative.attention.narrative import narrate
from kdviz.studies.attention.statistics.agreements import Agreements, Series, read_agreements
from kdviz.studies.attention.statistics.dependence import (
    aurocs,
    by_class,
    by_mistakes,
    changes,
    claim_pairs,
    predicts_inheritance,
)
from kdviz.studies.attention.statistics.effects import (
    effect_of,
    image_differences,
    mean_contrast,
    pair_contrast,
    resampled_sums,
    size_of,
)
from kdviz.studies.attention.statistics.report import AttentionReport, report_of
from kdviz.studies.attention.statistics.uncertainty import Effect


@pytest.fixture(scope="module")
def planted():
    return made_up({1.0: 0.0, 4.0: 0.2, 16.0: 0.5}, images=160, seed=4)


@pytest.fixture(scope="module")
def report(planted):
    return report_of(planted[0], "temperature", {"method": "rise", "settings": {"baseline": "black"}}, CLASSES, 4.0)


# constant maps --------------------------------------------------------------------------------------------------------


def without_agreement(table: pa.Table, kind: str, sample: int) -> pa.Table:
    """A map of one image of these pairs is constant."""
    lost = pc.and_(pc.equal(table["pair"].cast(pa.string()), kind), pc.equal(table["sample"], sample))
    for name in ("pearson", "ceiling_second_pearson"):
        values = pc.if_else(lost, pa.scalar(np.nan, pa.float32()), table[name])
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def reported(table: pa.Table) -> AttentionReport:
    return report_of(read_agreements(table, "temperature", "pearson"), "temperature", {}, CLASSES, 4.0)


@pytest.mark.parametrize("kind", ["second", "shuffled", "other", "own shuffle"])
def test_a_constant_map_of_a_control_takes_its_image_out_of_that_control_alone(kind):
    table, _ = made_up_table({1.0: 0.0, 4.0: 0.3}, images=40)
    whole, reduced = reported(table), reported(without_agreement(table, kind, 7))
    never = reported(table.filter(pc.not_equal(table["sample"], 7)))
    assert repr(reduced.values) == repr(whole.values)
    assert reduced.images == 40
    of_whole, of_found, of_never = (controls_in(report) for report in (whole, reduced, never))
    assert of_found[kind].n_images == 39
    assert of_found[kind].value == pytest.approx(of_never[kind].value)
    assert all(repr(of_found[name]) == repr(of_whole[name]) for name in of_whole if name != kind)
    specific = (never if kind == "other" else whole).image_specific_effect
    assert reduced.image_specific_effect.value == pytest.approx(specific.value)
    assert np.isfinite(figures.agreement_distribution(reduced).data[2].x).all()


def controls_in(report: AttentionReport) -> dict[str, Effect | None]:
    return {control.kind: control.difference for control in report.controls} | {"own shuffle": report.shuffle}


def test_a_constant_map_of_the_claim_takes_its_image_out_of_everything():
    table, _ = made_up_table({4.0: 0.3}, images=40)
    reduced = reported(without_agreement(table, "claim", 7))
    never = reported(table.filter(pc.not_equal(table["sample"], 7)))
    assert reduced.images == 39
    assert repr(reduced.values) == repr(never.values)
    assert repr(controls_in(reduced)) == repr(controls_in(never))


def test_a_control_of_which_every_map_is_constant_is_none():
    table, _ = made_up_table({4.0: 0.3}, images=40)
    for sample in range(40):
        for kind in ("shuffled", "own shuffle"):
            table = without_agreement(table, kind, sample)
    reduced = reported(table)
    assert {control.kind for control in reduced.controls} == {"second", "other"}
    assert reduced.shuffle is None
    assert reduced.images == 40


# planted effects and nothing ------------------------------------------------------------------------------------------


def test_a_planted_effect_is_recovered(planted, report):
    for effect in report.values:
        true = planted[1][effect.value]
        assert effect.difference.interval.low < true < effect.difference.interval.high
        assert effect.difference.value == pytest.approx(true, abs=0.02)
    small, medium, large = report.values
    assert small.difference.interval.has_zero
    assert medium.difference.excludes_zero
    assert large.difference.value > 2 * medium.difference.value
    assert report.chosen is medium


@pytest.mark.slow
def test_intervals_cover_what_is_true_as_often_as_they_say():
    """Of many studies: the planted effect, and nothing in the controls."""
    covered, passed = [], []
    for seed in range(12):
        agreements, true = made_up({4.0: 0.3}, images=40, seed=100 + seed)
        report = report_of(agreements, "temperature", {}, CLASSES)
        interval = report.chosen.difference.interval
        covered.append(interval.low < true[4.0] < interval.high)
        passed += [control.difference.interval.has_zero for control in report.all_controls]
    # The planted effect is that of these very images, so that the interval, which is over images too, is a wide one.
    assert sum(covered) >= 11
    assert len(passed) == 36
    assert sum(passed) >= 31  # 95 % of 36 are 34; fewer than 31 happen once in 100 times


def test_noise_is_taken_out(planted):
    """The uncorrected effect is too small, by the ceilings, and the corrected one does not depend on the noise."""
    quiet, true = made_up({4.0: 0.4}, noise=0.05)
    noisy, same_true = made_up({4.0: 0.4}, noise=1.5)
    assert true == same_true
    for agreements in (quiet, noisy):
        pairs = claim_pairs(agreements, 4.0)
        assert effect_of(agreements, pair_contrast(*pairs)).value == pytest.approx(true[4.0], abs=0.03)
    raw = effect_of(noisy, pair_contrast(*claim_pairs(noisy, 4.0)), corrected=False)
    assert raw.value < 0.7 * true[4.0]


def test_controls_come_out_as_nothing(report):
    assert {(control.kind, control.value) for control in report.all_controls} == {
        (kind, value) for kind in ("second", "shuffled", "other") for value in TEMPERATURES
    }
    for control in report.all_controls:
        assert abs(control.difference.value) < 0.04
        assert control.outcome != "failed"
        assert control.passed or control.value != 16.0  # beside the large effect they are small
        assert not control.passed or control.value != 1.0  # there is no effect to hold them against
    assert abs(report.shuffle.value) < 0.05


def test_what_all_images_share_is_told_apart():
    """A student that also got a map of its teacher's that is the same for all images: the control shows it."""
    agreements, _ = made_up({4.0: 0.4}, images=80)

    def more_of_it(series: Series) -> Series:
        if series.role != "kd_student":
            return series
        values = (series.agreement + 0.05, *_arrays(series)[1:])
        return Series(series.kind, series.role, series.value, series.seed, series.first, series.second, *values)

    before = report_of(agreements, "temperature", {}, CLASSES)
    after = report_of(agreements.mapped(more_of_it), "temperature", {}, CLASSES)
    control = next(control for control in after.controls if control.kind == "other")
    assert not control.passed or control.small
    assert after.chosen.difference.value > before.chosen.difference.value + 0.05
    assert after.image_specific_effect.value == pytest.approx(
        before.image_specific_effect.value, abs=1e-3
    )  # ceilings differ a little
    difference = before.chosen.difference.value - next(c for c in before.controls if c.kind == "other").difference.value
    assert before.image_specific_effect.value == pytest.approx(difference)
    assert "a way of looking that all images share" in " ".join(narrate(after).controls)


def test_a_control_that_is_something_is_told():
    """If the second students were teacher_predicted, too, the control must say so."""
    agreements, _ = made_up({4.0: 0.4}, images=80)
    teacher_predicted = {series.seed: series for series in agreements.of("claim", "kd_student", 4.0)}

    def cheat(series: Series) -> Series:
        if series.kind != "second":
            return series
        values = teacher_predicted[(series.seed or 0) - 9]
        return Series(series.kind, series.role, None, series.seed, series.first, series.second, *_arrays(values))

    report = report_of(agreements.mapped(cheat), "temperature", {}, CLASSES)
    control = next(control for control in report.controls if control.kind == "second")
    assert control.outcome == "failed"
    said = " ".join(narrate(report).controls)
    assert "failed, since its 90 % interval" in said
    assert "By “second student alone”, 100% of the effect may have other reasons than distillation." in said


def _arrays(series: Series) -> tuple[np.ndarray, ...]:
    return series.agreement, series.ceiling_first, series.ceiling_second, series.predicted, series.teacher_predicted


# against other ways to compute it -------------------------------------------------------------------------------------


def test_the_bootstrap_is_that_of_resampled_lists(planted):
    """The same by drawing lists of images and seeds, image by image, and dividing means."""
    data, _ = planted
    kd, alone = claim_pairs(data, 4.0)
    ours = effect_of(data, pair_contrast(kd, alone))
    generator, images, seeds = np.random.default_rng(7), len(data.samples), len(kd)

    def corrected(series: Series, which: np.ndarray) -> float:
        ceiling = np.sqrt(np.maximum(series.ceiling_first[which], 0) * np.maximum(series.ceiling_second[which], 0))
        return series.agreement[which].mean() / ceiling.mean()

    def by_seed(which: np.ndarray) -> np.ndarray:
        return np.array([corrected(a, which) - corrected(b, which) for a, b in zip(kd, alone, strict=True)])

    assert ours.by_seed == pytest.approx(tuple(by_seed(np.arange(images))))
    drawn = np.array([by_seed(generator.integers(0, images, images)) for _ in range(1500)])
    over_images = drawn.mean(1)
    both = np.array([differences[generator.integers(0, seeds, seeds)].mean() for differences in drawn])
    assert ours.image_error == pytest.approx(over_images.std(ddof=1), rel=0.1)
    for interval, values in ((ours.images, over_images), (ours.both, both)):
        low, high = np.percentile(values, [2.5, 97.5])
        tolerance = 0.15 * (high - low)
        assert interval.low == pytest.approx(low, abs=tolerance)
        assert interval.high == pytest.approx(high, abs=tolerance)
    expected = stats.ttest_1samp(by_seed(np.arange(images)), 0).confidence_interval(0.95)
    assert (ours.seeds_t.low, ours.seeds_t.high) == pytest.approx((expected.low, expected.high))


def test_the_interval_is_that_of_paired_differences(planted):
    """Without weights and correction it is kdviz.metrics.paired_difference, whose variances are formulas."""
    data, _ = planted
    kd, alone = claim_pairs(data, 4.0)
    ours = effect_of(data, pair_contrast(kd, alone), corrected=False, replicates=4000)
    other = paired_difference(
        np.stack([series.agreement for series in alone]), np.stack([series.agreement for series in kd])
    )
    assert ours.value == pytest.approx(other.value)
    assert ours.seed_error == pytest.approx(other.seed_error)
    assert ours.image_error == pytest.approx(other.sample_error, rel=0.06)
    assert ours.interval.low == pytest.approx(other.low, abs=0.06 * (other.high - other.low))


def test_weights_count_images_as_often_as_they_say(planted):
    data, _ = planted
    weights = np.random.default_rng(1).integers(1, 4, len(data.samples)).astype(float)
    weighted = Agreements(data.measure, data.samples, data.labels, data.targets, weights, data.who, data.series)
    kd, alone = claim_pairs(weighted, 4.0)
    repeated = np.repeat(np.arange(len(data.samples)), weights.astype(int))
    expected = np.mean([series.agreement[repeated].mean() / series.ceiling[repeated].mean() for series in kd])
    assert effect_of(weighted, mean_contrast(kd), replicates=10).value == pytest.approx(expected)
    size = size_of(weighted, kd, alone)
    differences = [(a.agreement - b.agreement)[repeated] for a, b in zip(kd, alone, strict=True)]
    assert size.by_training_d_z == pytest.approx([training.mean() / training.std() for training in differences])
    shares = [((training > 0) + 0.5 * (training == 0)).mean() for training in differences]
    assert size.by_training_superiority == pytest.approx(shares)
    assert (size.d_z, size.superiority) == pytest.approx((np.mean(size.by_training_d_z), np.mean(shares)))
    mean = np.mean(differences, 0)
    assert size.d_z < mean.mean() / mean.std()  # of the mean over trainings it would look larger than any is


def test_sums_are_those_of_a_poisson_bootstrap_in_any_blocks(monkeypatch):
    columns = np.random.default_rng(0).normal(size=(500, 3))
    whole = resampled_sums(columns, 400, 1)
    monkeypatch.setattr("kdviz.studies.attention.statistics.effects._COUNTS_OF_BLOCK", 400 * 7)
    blocks = resampled_sums(columns, 400, 1)
    np.testing.assert_allclose(blocks[0], columns.sum(0))
    assert blocks[1:].mean(0) == pytest.approx(columns.sum(0), abs=5 * np.sqrt((columns**2).sum(0).max() / 400))
    # The variance of a Poisson bootstrap's sums is the sum of squares; of 400 replicates to 5 standard errors.
    for sums in (whole, blocks):
        np.testing.assert_allclose(sums[1:].var(0), (columns**2).sum(0), rtol=5 * np.sqrt(2 / 400))


def test_changes_are_differences_of_the_effects(report):
    effects = {effect.value: np.array(effect.difference.by_training) for effect in report.values}
    assert [(change.first, change.second) for change in report.changes] == [(1, 4), (1, 16), (4, 16)]
    assert [(step.first, step.second) for step in report.steps] == [(1, 4), (4, 16)]
    for change in report.changes:
        assert change.effect.by_training == pytest.approx(tuple(effects[change.second] - effects[change.first]))
        assert change.p_holm >= change.effect.p_value
        assert change.differs == (change.p_holm < 0.05)
    level = simultaneous_level(2)
    assert level == pytest.approx(0.975)
    for step in report.steps:
        wide = step.effect.at(level)
        assert (step.together.low, step.together.high) == (wide.low, wide.high)
        assert step.together.low < step.effect.interval.low
    assert report.changes[2].effect.excludes_zero  # planted: .2 and .5
    assert changes(made_up({4.0: 0.1}, images=20)[0], True) == []


def test_what_is_not_paired_is_not_a_change(planted):
    """The noise of the students alone is in both effects, and not in their difference."""
    data, _ = planted
    kd = {value: claim_pairs(data, value)[0] for value in (4.0, 16.0)}
    direct = effect_of(data, pair_contrast(kd[16.0], kd[4.0]))
    change = changes(data, True)[-1].effect
    assert change.value == pytest.approx(direct.value)
    assert change.image_error == pytest.approx(direct.image_error, rel=1e-6)


def test_effects_by_class_are_adjusted_together(planted):
    data, _ = planted
    effects = by_class(data, 16.0, CLASSES)
    assert [effect.name for effect in effects] == list(CLASSES)
    assert sum(effect.images for effect in effects) == len(data.samples)
    kd, alone = claim_pairs(data, 16.0)
    among = data.labels == 3
    expected = np.mean(
        [
            a.agreement[among].mean() / a.ceiling[among].mean() - b.agreement[among].mean() / b.ceiling[among].mean()
            for a, b in zip(kd, alone, strict=True)
        ]
    )
    assert effects[3].effect.value == pytest.approx(expected)
    assert all(effect.p_holm >= effect.effect.p_value for effect in effects)
    assert all(effect.p_holm < 0.05 for effect in effects)
    nothing = by_class(data, 1.0, CLASSES)
    assert all(effect.p_holm > 0.05 for effect in nothing)


# mistakes -------------------------------------------------------------------------------------------------------------


def test_auroc_is_that_of_torchmetrics():
    from torchmetrics.functional.classification import binary_auroc

    generator = np.random.default_rng(0)
    for _ in range(5):
        values, truth = generator.integers(0, 30, 200) / 30, generator.random(200) < 0.3
        counts = generator.integers(0, 4, (3, 200))
        resamples = [[torch.tensor(np.repeat(part, count)) for part in (values, truth)] for count in counts]
        assert aurocs(values, truth, counts) == pytest.approx([float(binary_auroc(*each)) for each in resamples])
    assert np.isnan(aurocs(np.ones(3), np.zeros(3, bool), np.ones((1, 3), int))).all()


def test_agreement_that_predicts_inheritance_is_seen(planted):
    data, _ = planted
    nothing = {prediction.role: prediction for prediction in predicts_inheritance(data, 4.0)}
    assert nothing["kd_student"].auroc.interval.has_zero
    wrong = data.targets != data.labels

    def linked(series: Series) -> Series:
        if (series.kind, series.role) != ("claim", "kd_student"):
            return series
        predicted = np.where(
            wrong, np.where(series.agreement > np.median(series.agreement), data.targets, data.labels), 0
        )
        changed = (*_arrays(series)[:3], predicted, series.teacher_predicted)
        return Series(series.kind, series.role, series.value, series.seed, series.first, series.second, *changed)

    predictions = {prediction.role: prediction for prediction in predicts_inheritance(data.mapped(linked), 4.0)}
    assert predictions["kd_student"].auroc.value == pytest.approx(0.5)  # AUROC of 1
    assert predictions["kd_student"].inherited + predictions["kd_student"].others == wrong.sum()


def test_parts_by_mistakes(planted):
    data, _ = planted
    parts = {part.name: part for part in by_mistakes(data, 4.0)}
    wrong = data.targets != data.labels
    assert parts["teacher wrong"].images == wrong.sum()
    kd, alone = claim_pairs(data, 4.0)
    repeated = [wrong & (series.predicted == data.targets) for series in kd]
    part = parts["mistakes of the teacher that the KD student repeats"]
    assert part.images == pytest.approx(np.mean([answers.sum() for answers in repeated]))
    expected = np.mean(
        [
            a.agreement[among].mean() / a.ceiling[among].mean() - b.agreement[among].mean() / b.ceiling[among].mean()
            for a, b, among in zip(kd, alone, repeated, strict=True)
        ]
    )
    assert part.effect.value == pytest.approx(expected)


# what is read and said ------------------------------------------------------------------------------------------------


def test_extremes_are_the_ends(report, planted):
    everything = report.extremes(10_000)
    assert all(image.difference > 0 for image in everything[0])
    assert all(image.difference < 0 for image in everything[1])
    assert {image.sample for image in everything[0]}.isdisjoint(image.sample for image in everything[1])
    most, least = report.extremes(4)
    kd, alone = claim_pairs(planted[0], 4.0)
    difference = image_differences(kd, alone)
    assert [extreme.difference for extreme in most] == pytest.approx(sorted(difference)[::-1][:4])
    assert [extreme.difference for extreme in least] == pytest.approx(
        [extreme for extreme in sorted(difference) if extreme < 0][:4]
    )
    assert most[0].kd - most[0].alone == pytest.approx(most[0].difference)
    assert report.distribution()["kd_student"].shape == (160,)


def test_the_verdict_in_words(report):
    words = narrate(report)
    text = " ".join(words.everything)
    assert words.outcome == "closer"
    assert "Distillation at T = 4 teaches where to look" in text
    assert "over 160 images, 3 seeds and 1 teacher" in text
    assert "Changes from each value to the next, with intervals that hold together at 95 %: T = 1 to T = 4: " in text
    assert any("3 seeds and 1 teacher are few" in sentence for sentence in words.limits)
    assert "There is one teacher in it: other teachers may teach otherwise." in words.limits


def test_the_verdict_of_nothing_and_of_the_opposite():
    nothing, _ = made_up({4.0: 0.0}, seed=3)
    words = narrate(report_of(nothing, "temperature", {}, CLASSES))
    assert words.outcome in ("cannot be told", "as close")
    assert "cannot be told to teach where to look" in words.sentences[0] or "hardly changes" in words.sentences[0]
    opposite, _ = made_up({4.0: -0.4}, seed=3)
    assert narrate(report_of(opposite, "temperature", {}, CLASSES)).outcome == "further"


def test_one_seed_says_nothing_about_seeds():
    agreements, _ = made_up({4.0: 0.4}, seeds=1)
    report = report_of(agreements, "temperature", {}, CLASSES)
    assert report.chosen.difference.interval.over == "images"
    assert np.isnan(report.chosen.difference.seed_error)
    words = narrate(report)
    assert words.outcome == "cannot be told"
    assert words.sentences[0].startswith(
        "One training of each student cannot tell whether distillation at T = 4 teaches"
    )
    assert any("With one seed" in sentence for sentence in words.limits)
    assert all(control.outcome == "cannot tell" for control in report.all_controls)


def test_a_study_that_is_not_there_is_refused():
    with pytest.raises(ExperimentError, match="kdviz study --study alpha"):
        read_agreements(pa.table({"study": ["temperature"]}), "alpha")
