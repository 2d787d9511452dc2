"""Filters, counts, class pairs and orders of *Mistakes*, against a loop over the samples."""

from __future__ import annotations

import numpy as np
import pytest

from kdviz.narrative.products.broken_answers import broken_sentences
from kdviz.studies.predictions.broken_by_steps import MadeRun
from kdviz.studies.predictions.mistake_index import Filters, MistakeIndex, confused_pairs, order_role, without
from kdviz.studies.predictions.mistakes import GROUPS, Predictions, distillation_effect, known_groups, members, showcase

CLASSES = 4
ROLES = ("teacher", "kd_student", "student")


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def made(roles: tuple[str, ...] = ROLES, samples: int = 300) -> tuple[Predictions, dict[str, np.ndarray]]:
    """Models that are right about half of the time, the KD student more like the teacher than the other one is."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, samples)
    teacher = random.normal(size=(samples, CLASSES)) + 1.5 * np.eye(CLASSES)[labels]
    noise = {"teacher": 0.0, "kd_student": 0.7, "student": 1.5}
    logits = {role: teacher + noise[role] * random.normal(size=teacher.shape) for role in roles}
    chances = {role: softmax(values) for role, values in logits.items()}
    predicted = {role: values.argmax(1) for role, values in chances.items()}
    confidence = {role: values.max(1) for role, values in chances.items()}
    return Predictions("test", labels, predicted, confidence), logits


@pytest.fixture(scope="module")
def index() -> MistakeIndex:
    predictions, logits = made()
    return MistakeIndex(predictions, logits, CLASSES)


def belongs(group: str, label: int, teacher: int, kd: int, alone: int) -> bool:
    return {
        "lost": teacher == label != kd,
        "fixed": kd == label != alone,
        "broken": alone == label != kd,
        "inherited": teacher != label and kd == teacher,
        "all_wrong": label not in (teacher, kd, alone),
        "any_wrong": not teacher == kd == alone == label,
        "all": True,
    }[group]


def said(index: MistakeIndex, sample: int) -> list[int]:
    return [int(index.predictions.predicted[role][sample]) for role in ROLES]


def test_each_group_is_what_its_sentence_says(index):
    labels = index.predictions.labels
    for group in GROUPS:
        of_group = members(index.predictions, group)
        assert of_group.any()
        for sample in range(len(index)):
            assert of_group[sample] == belongs(group, labels[sample], *said(index, sample)), (group, sample)


def test_filters_together_against_a_loop(index):
    filters = Filters("any_wrong", "student", true=1, said=2, low=0.4, high=0.8)
    expected = [
        sample
        for sample in range(len(index))
        if belongs("any_wrong", index.predictions.labels[sample], *said(index, sample))
        and index.predictions.labels[sample] == 1
        and index.predictions.predicted["student"][sample] == 2
        and 0.4 <= index.predictions.confidence["student"][sample] <= 0.8
    ]
    assert expected
    assert index.indices(filters, "sample").tolist() == expected


def test_a_confidence_at_the_end_of_the_range_is_inside(index):
    confidence = float(index.predictions.confidence["teacher"][7])
    assert index.passing(Filters("all", "teacher", low=confidence, high=confidence))[7]
    assert not index.passing(Filters("all", "teacher", low=confidence + 1e-9))[7]


def test_a_count_is_what_choosing_the_group_would_show(index):
    filters = Filters("lost", "kd_student", true=2, high=0.9)
    counts = index.counts(filters)
    assert list(counts) == list(GROUPS)
    for group, count in counts.items():
        chosen = Filters(group, "kd_student", true=2, high=0.9)
        assert len(index.indices(chosen, "sample")) == count
    assert counts["all"] > counts["any_wrong"] > counts["lost"]


def test_a_cell_is_what_choosing_it_would_show(index):
    filters = Filters("any_wrong", "teacher", true=3, said=0, low=0.3)
    matrix = index.confusion(filters)
    for true in range(CLASSES):
        for answer in range(CLASSES):
            chosen = Filters("any_wrong", "teacher", true=true, said=answer, low=0.3)
            assert index.passing(chosen).sum() == matrix[true, answer]
    assert matrix.sum() == index.passing(without(without(filters, "true"), "said")).sum()


def test_what_distillation_changed(index):
    filters = Filters("all", "kd_student")
    change = index.change(filters)
    assert change.sum() == 0  # every sample is counted once in each
    assert np.array_equal(change, index.confusion(filters, "kd_student") - index.confusion(filters, "student"))
    effect = distillation_effect(index.predictions)
    assert effect is not None
    assert np.trace(change) == effect.fixed - effect.broke
    either = Filters("all", "teacher", true=0, said=1, either=True)
    predicted = index.predictions.predicted
    expected = (index.predictions.labels == 0) & ((predicted["kd_student"] == 1) | (predicted["student"] == 1))
    assert np.array_equal(index.passing(either), expected)


def test_the_divergence_of_a_sample_is_kullback_and_leiblers(index):
    _, logits = made()
    spoken, student = softmax(logits["teacher"]), softmax(logits["student"])
    expected = (spoken * np.log(spoken / student)).sum(1)
    np.testing.assert_allclose(index.divergence("student"), expected, atol=1e-12)
    assert (index.divergence("teacher") == 0).all()
    places = index.indices(Filters("all", "teacher"), "kl-student")
    assert (np.diff(expected[places]) <= 1e-12).all()
    assert not np.array_equal(places, index.indices(Filters("all", "teacher"), "kl"))


def test_the_divergence_of_many_samples_is_made_in_parts():
    predictions, logits = made(samples=20_000)
    divergence = MistakeIndex(predictions, logits, CLASSES).divergence("kd_student")
    spoken, student = softmax(logits["teacher"]), softmax(logits["kd_student"])
    np.testing.assert_allclose(divergence, (spoken * np.log(spoken / student)).sum(1), atol=1e-12)


def test_a_divergence_of_certain_models_is_finite():
    logits = {"teacher": np.array([[2000.0, 0.0]]), "kd_student": np.array([[0.0, 2000.0]])}
    predictions = Predictions(
        "test",
        np.array([0]),
        {"teacher": np.array([0]), "kd_student": np.array([1])},
        {"teacher": np.array([1.0]), "kd_student": np.array([1.0])},
    )
    assert MistakeIndex(predictions, logits, 2).divergence("kd_student") == pytest.approx([2000])


def test_orders(index):
    everything = Filters("all", "student")
    predictions = index.predictions
    assert index.orders == ("gap", "kl", "kl-student", "sure", "unsure", "sample")
    for order in index.orders:
        assert sorted(index.indices(everything, order)) == list(range(len(index)))
    unsure = predictions.confidence["student"][index.indices(everything, "unsure")]
    assert (np.diff(unsure) >= 0).all()
    other = predictions.confidence["teacher"][index.indices(Filters("all", "teacher"), "unsure")]
    assert (np.diff(other) >= 0).all()
    wrong = [np.where(~predictions.right(role), predictions.confidence[role], 0) for role in ROLES]
    assert (np.diff(np.max(wrong, axis=0)[index.indices(everything, "sure")]) <= 0).all()
    first = index.indices(everything, "gap")[0]
    assert predictions.predicted["teacher"][first] != predictions.predicted["kd_student"][first]
    assert index.indices(everything, "sample").tolist() == list(range(len(index)))


def test_ties_keep_the_order_of_the_data():
    count = 1000  # with few, any way of sorting keeps them
    labels = np.zeros(count, int)
    same = {role: np.zeros(count, int) for role in ROLES}
    sure = {role: np.where(np.arange(count) % 3, 0.5, 0.7) for role in ROLES}
    logits = {role: np.zeros((count, 2)) for role in ROLES}
    index = MistakeIndex(Predictions("test", labels, same, sure), logits, 2)
    for order in ("gap", "kl", "kl-student", "sure", "sample"):
        assert index.indices(Filters("all", "student"), order).tolist() == list(range(count))
    unsure = index.indices(Filters("all", "student"), "unsure")
    assert unsure.tolist() == [n for n in range(count) if n % 3] + list(range(0, count, 3))


def test_without_a_teacher_or_logits():
    predictions, _ = made(("kd_student", "student"))
    index = MistakeIndex(predictions, {}, CLASSES)
    assert index.groups == tuple(known_groups(predictions)) == ("fixed", "broken", "all_wrong", "any_wrong", "all")
    assert index.orders == ("sure", "unsure", "sample")
    assert index.has_change
    predictions, _ = made(("teacher",))
    alone = MistakeIndex(predictions, {}, CLASSES)
    assert alone.groups == ("all_wrong", "any_wrong", "all")
    assert alone.orders == ("sure", "unsure", "sample")
    assert not alone.has_change
    assert distillation_effect(predictions) is None


MADE = [
    MadeRun("student", "kd_student", "int8 dynamic"),
    MadeRun("teacher", "kd_student", "seed"),  # it breaks less than the student alone, whose answers are noisier
]


def test_what_a_step_broke_is_a_group_that_counts_and_filters():
    predictions, logits = made()
    index = MistakeIndex(predictions, logits, CLASSES, made=MADE)
    assert index.groups[3:6] == ("inherited", "broken-student", "broken-teacher")
    assert set(index.groups[6:]) == {"all_wrong", "any_wrong", "all"}
    words = index.words("broken-student")
    assert words.title.format(**words.values) == "Broken by int8: student"
    filters = Filters("broken-student", "student", true=2)
    expected = [
        sample
        for sample in range(len(index))
        if predictions.predicted["kd_student"][sample] == 2 == predictions.labels[sample]
        and predictions.predicted["student"][sample] != 2
    ]
    assert expected
    assert index.indices(filters, "sample").tolist() == expected
    assert index.counts(filters)["broken-student"] == len(expected)


def test_the_sentence_on_broken_answers_has_its_counts_and_the_null():
    predictions, _ = made()
    before, after, other = (predictions.right(role) for role in ("kd_student", "student", "teacher"))
    gone, mended = (before & ~after).sum(), (after & ~before).sum()
    counts, beside = broken_sentences(predictions, MADE[0], MADE)
    assert counts.startswith(f"Of 300 samples it broke {gone} right answers, {100 * gone / 300:.2f}%")
    assert counts.endswith(f"and mended {mended} errors.")
    assert f"{100 * (gone - (before & ~other).sum()) / 300:+.2f} points" in beside
    assert beside.startswith("It broke more than another seed breaks, 'teacher'")
    assert len(broken_sentences(predictions, MADE[1], MADE)) == 1  # the null itself


def test_a_further_model_has_its_own_order():
    predictions, logits = made(("teacher", "student"))
    renamed = Predictions(
        "test",
        predictions.labels,
        {"teacher": predictions.predicted["teacher"], "int8": predictions.predicted["student"]},
        {"teacher": predictions.confidence["teacher"], "int8": predictions.confidence["student"]},
    )
    index = MistakeIndex(renamed, {"teacher": logits["teacher"], "int8": logits["student"]}, CLASSES)
    assert index.orders == ("gap", "kl-int8", "sure", "unsure", "sample")
    assert order_role("kl-int8") == "int8"
    assert order_role("gap") is None
    divergence = index.divergence("int8")[index.indices(Filters("all", "int8"), "kl-int8")]
    assert (np.diff(divergence) <= 0).all()


def test_the_most_confused_pairs_leave_out_what_is_right_and_what_is_nothing():
    matrix = np.array([[90, 3, 0], [5, 80, 0], [1, 0, 70]])
    assert confused_pairs(matrix, 10) == [(1, 0, 5), (0, 1, 3), (2, 0, 1)]
    assert confused_pairs(matrix, 1) == [(1, 0, 5)]
    change = np.array([[4, -6, 0], [2, -1, 0], [0, 0, 1]])
    assert confused_pairs(change, 10) == [(0, 1, -6), (1, 0, 2)]


def test_a_filter_is_left_out_alone():
    filters = Filters("lost", "student", true=1, said=2, either=True, low=0.2, high=0.8)
    assert without(filters, "group") == Filters("all", "student", 1, 2, True, 0.2, 0.8)
    assert without(filters, "said") == Filters("lost", "student", 1, None, False, 0.2, 0.8)
    assert without(filters, "confidence") == Filters("lost", "student", 1, 2, True, 0, 1)


def test_the_first_look_shows_differences_and_then_every_class(index):
    picks = showcase(index.predictions, CLASSES)
    assert len(picks) == len(set(picks))
    assert belongs("fixed", index.predictions.labels[picks[0]], *said(index, picks[0]))
    easy = picks[-CLASSES:]
    assert index.predictions.labels[easy].tolist() == list(range(CLASSES))
