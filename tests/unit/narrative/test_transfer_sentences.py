"""What is said of what was transferred, held against the numbers of the report, in both languages."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kdviz.core.files import MODELS
from kdviz.core.language import LANGUAGES, speaking
from kdviz.experiment import load_experiment
from kdviz.narrative.transfer import (
    confusion_sentences,
    inherited_sentences,
    layer_sentences,
    left_out_sentences,
    transfer_sentences,
    verdict_sentences,
)
from kdviz.narrative.transfer_scores import score_sentences
from kdviz.studies.transfer import TransferReport, read_transfer_report
from kdviz.studies.transfer.report import ALL, ConfusionLikeness, Estimate, InheritedErrors, LayerLikeness, LayerScore
from kdviz.studies.transfer.table import RELEVANCE, SCORES, SIMILARITY, UNIQUE

CLASSES = ("cat", "dog", "owl")
NAN = float("nan")
CLOSER, NOT_CLOSER, FURTHER, OPEN = (
    (0.09, 0.084, 0.095),
    (0.005, -0.005, 0.015),
    (-0.05, -0.06, -0.04),
    (0.02, -0.03, 0.07),
)
VERDICTS = [(CLOSER, "closer"), (NOT_CLOSER, "not closer"), (FURTHER, "further"), (OPEN, "cannot tell")]


def estimate(value, low=NAN, high=NAN, count=2000, together=1):
    """With an interval of 90 % that is a little narrower."""
    inner = (value + 0.84 * (low - value), value + 0.84 * (high - value))
    return Estimate(value, low, high, *inner, together, count)


def layer(role, depth, cka, less=""):
    null = (NAN, NAN, NAN) if less else (0.0004, 0.002, 0.61)
    return LayerLikeness(role, less, f"{depth}:input", f"{depth}:input", depth, depth, True, cka, *null)


def report(last=CLOSER, first=CLOSER, confusions=CLOSER, classes=(CLOSER, OPEN, FURTHER)):
    layers = [
        layer(role, depth, estimate(value, value - 0.01, value + 0.01))
        for role, value in (("kd_student", 0.946), ("student", 0.856), ("untrained", 0.405))
        for depth in (1, 2, 3)
    ]
    differences = zip((1, 2, 3), (first, last, CLOSER), strict=True)
    layers += [layer("kd_student", depth, estimate(*values), "student") for depth, values in differences]
    shares = [
        InheritedErrors(role, "", ALL, estimate(value, count=86))
        for role, value in (("kd_student", 0.7), ("student", 0.4))
    ]
    tenfold = [tuple(10 * each for each in values) for values in ((0.03, 0.017, 0.041), *classes)]
    shares += [
        InheritedErrors("kd_student", "student", label, estimate(*values, count=86))
        for label, values in zip((ALL, 0, 1, 2), tenfold, strict=True)
    ]
    pairs = [
        ("kd_student", "", (0.91, 0.86, 0.97)),
        ("student", "", (0.69, 0.57, 0.82)),
        ("kd_student", "student", confusions),
    ]
    return TransferReport(
        {"pictures": 2000},
        tuple(layers),
        tuple(ConfusionLikeness(role, less, 1.0, estimate(*values, count=10_000)) for role, less, values in pairs),
        tuple(shares),
    )


def scored(difference=CLOSER, own=(0.29, 0.27, 0.31), measures=SCORES):
    """The report with scores of the last layer: all have these values."""
    place = {"layer": "2:input", "teacher_layer": "2:input", "depth": 2, "teacher_depth": 2}
    null = {"shuffled": NAN, "shuffled_high": NAN, "within": NAN}
    values = {("kd_student", ""): own, ("student", ""): (0.16, 0.14, 0.18), ("kd_student", "student"): difference}
    return replace(
        report(),
        scores=tuple(
            LayerScore(measure=measure, role=role, less=less, score=estimate(*each), **place, **null)
            for measure in measures
            for (role, less), each in values.items()
        ),
    )


BEGINNINGS = {
    "closer": "The KD student's features are closer to its teacher's",
    "not closer": "The KD student's features are not closer",
    "further": "The KD student's features are further from",
    "cannot tell": "One cannot tell whether the KD student's features are closer",
}


@pytest.mark.parametrize(("values", "verdict"), VERDICTS)
def test_the_verdict_on_the_last_layer_is_that_of_its_interval(values, verdict):
    (sentence,) = verdict_sentences(report(last=values))
    assert report(last=values).last("kd_student", "student").cka.verdict() == verdict
    assert sentence.startswith(BEGINNINGS[verdict])
    assert "0.946 against 0.856" in sentence
    assert f"{values[0]:+.3f} (95 % interval {values[1]:+.3f} to {values[2]:+.3f}) over 2,000 pictures" in sentence
    assert ("0.02 count as equal" in sentence) == (verdict == "not closer")


def test_an_interval_of_90_percent_is_shown_where_it_alone_bears_a_sentence_out():
    (sentence,) = verdict_sentences(report(last=(0.0, -0.022, 0.022)))
    assert sentence.startswith(BEGINNINGS["not closer"])
    assert "(90 % interval -0.018 to +0.018)" in sentence


@pytest.mark.parametrize(("values", "verdict"), VERDICTS)
def test_each_other_layer_is_named_with_its_verdict(values, verdict):
    _, sentence, *_ = layer_sentences(report(first=values))
    parts = {
        "closer": "closer at",
        "not closer": "not closer at",
        "further": "further away at",
        "cannot tell": "told at",
    }
    if verdict == "closer":
        assert "closer at layer 1, the logits." in sentence
    else:
        assert f"{parts[verdict]} layer 1" in sentence
        assert "closer at the logits" in sentence
    assert "layer 2" not in sentence  # the last one has its own


def test_controls_are_those_of_the_last_layer():
    classes, untrained = layer_sentences(report())[2:]
    assert re.findall(r"\d\.\d+", classes) == ["0.946", "0.610", "0.000"]
    assert re.findall(r"\d\.\d+", untrained) == ["0.405", "0.395", "0.415"]


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        (CLOSER, ["closer to the teacher", "more relevant", "the KD student has more of its own"]),
        (NOT_CLOSER, ["not closer to the teacher", "not more relevant", "the KD student has no more of its own"]),
        (FURTHER, ["further from the teacher", "less relevant", "the KD student has less of its own"]),
        (OPEN, [f"whether {what} cannot be told" for what in ("it is closer to the teacher", "it is more relevant")]),
    ],
)
def test_each_score_has_the_verdict_of_its_difference(values, ends):
    similarity, relevance, _, of_classes, _, of_teacher = score_sentences(scored(values))
    ends = ends if len(ends) == 3 else [*ends, "whether the KD student has more of its own cannot be told"]
    equal = ", as up to 0.02 count as equal" if values is NOT_CLOSER else ""
    change = f"{values[0]:+.3f} (95 % interval {values[1]:+.3f} to {values[2]:+.3f})"
    for sentence, end in zip((similarity, relevance, of_classes, of_teacher), [*ends, ends[2]], strict=True):
        assert sentence.endswith(f"a difference of {change}: {end}{equal}.")
    assert "is 0.290 against 0.160 alone" in similarity
    assert "is 0.290 against 0.160 alone" in relevance
    assert "has 0.160 with the true classes" in of_classes
    assert "has 0.160 with the teacher's features" in of_teacher


@pytest.mark.parametrize(
    ("own", "begins", "what"),
    [
        ((0.29, 0.27, 0.31), "What", "is related to"),
        ((-0.05, -0.07, -0.03), "What", "runs counter to"),
        ((0.01, -0.01, 0.03), "One cannot tell whether what", "is related to"),
        ((0.0, 0.0, 0.0), "One cannot tell whether what", "is related to"),
    ],
)
def test_what_only_the_kd_student_has_is_called_related_where_the_interval_excludes_zero(own, begins, what):
    _, _, of_classes, _, of_teacher, _ = score_sentences(scored(own=own))
    for sentence, target in ((of_classes, "the true classes"), (of_teacher, "the teacher's features")):
        assert sentence.startswith(f"{begins} the KD student's features have beyond those of the student alone")
        interval = f"{own[0]:.3f} (95 % interval {own[1]:.3f} to {own[2]:.3f})"
        assert f"{what} {target}: a partial distance correlation of {interval}" in sentence


def test_scores_that_were_not_computed_are_not_spoken_of():
    assert score_sentences(report()) == []
    (sentence,) = score_sentences(scored(measures=[SIMILARITY]))
    assert sentence.startswith("Feature similarity score")
    assert len(score_sentences(scored(measures=[RELEVANCE, UNIQUE[RELEVANCE]]))) == 3
    alone = replace(scored(), scores=tuple(entry for entry in scored().scores if entry.role == "student"))
    assert score_sentences(alone) == []


@pytest.mark.parametrize(
    ("values", "begins"),
    [
        (CLOSER, "Its confusions are more like"),
        (NOT_CLOSER, "Its confusions are not more like"),
        (FURTHER, "Its confusions are less like"),
        (OPEN, "One cannot tell whether its confusions"),
    ],
)
def test_confusions(values, begins):
    (sentence,) = confusion_sentences(report(confusions=values))
    assert sentence.startswith(begins)
    assert "(T = 1)" in sentence
    assert f"0.910 against 0.690 alone, a difference of {values[0]:+.3f}" in sentence
    assert "over 10,000 pictures" in sentence


def test_errors_are_said_over_all_and_by_class():
    over_all, by_class = inherited_sentences(report(), CLASSES)
    assert "70.0% of the teacher's 86 errors" in over_all
    assert "alone 40.0%: +30.00 points (95 % interval +17.00 to +41.00)" in over_all
    assert by_class.endswith("more in cat; fewer in owl; cannot be told in dog.")
    *_, undecided = inherited_sentences(report(classes=(OPEN,) * 3), CLASSES)
    assert undecided.startswith("One cannot tell in any class")
    assert "for 3 classes" in undecided


def test_what_is_missing_is_not_spoken_of():
    whole = report()
    without_layers = replace(whole, layers=())
    assert layer_sentences(without_layers) == []
    assert len(transfer_sentences(without_layers, CLASSES)) == 4
    without_alone = replace(
        whole, layers=tuple(entry for entry in whole.layers if "student" not in (entry.role, entry.less))
    )
    assert verdict_sentences(without_alone) == []
    assert confusion_sentences(replace(whole, confusions=())) == []
    assert inherited_sentences(replace(whole, inherited=()), CLASSES) == []
    left_out = replace(whole, about={"left_out": {"int8": "it shows no layers."}})
    assert left_out_sentences(left_out) == ["Layers of 'int8' are not compared: it shows no layers."]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("values", [CLOSER, NOT_CLOSER, FURTHER, OPEN])
def test_every_language_has_the_same_numbers(language, values):
    numbers = re.compile(r"[-+]?\d+(?:[,.]\d+)*")
    shown = replace(report(values, values, values, (values,) * 3), scores=scored(values, values).scores)
    english = [sorted(numbers.findall(sentence)) for sentence in transfer_sentences(shown, CLASSES)]
    with speaking(language):
        translated = transfer_sentences(shown, CLASSES)
    assert [sorted(numbers.findall(sentence.replace("95%", "95 %"))) for sentence in translated] == english
    assert (translated == transfer_sentences(shown, CLASSES)) == (language == "en")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_sentences_of_the_shipped_models_are_what_their_intervals_say(name):
    experiment = load_experiment(MODELS / name)
    shipped = read_transfer_report(experiment)
    difference = shipped.last("kd_student", "student").cka
    assert difference.low > 0
    assert verdict_sentences(shipped)[0].startswith(BEGINNINGS["closer"])
    for sentence, temperature in zip(confusion_sentences(shipped), shipped.temperatures, strict=True):
        correlation = shipped.confusion(temperature, "kd_student", "student").correlation
        assert sentence.startswith("Its confusions are more like") == (correlation.low > 0)
        assert sentence.startswith("One cannot tell") == (correlation.low <= 0 <= correlation.high)
    score_texts = score_sentences(shipped)
    for measure, sentence in ((SIMILARITY, score_texts[0]), (RELEVANCE, score_texts[1])):
        entry = shipped.last_score(measure, "kd_student", "student").score
        assert sentence.endswith((": closer to the teacher.", ": more relevant.")) == (entry.verdict() == "closer")
        assert entry.low > 0
    for measure, sentence in ((RELEVANCE, score_texts[2]), (SIMILARITY, score_texts[4])):
        assert shipped.last_score(UNIQUE[measure], "kd_student").score.low > 0
        assert sentence.startswith("What the KD student's features have beyond")
