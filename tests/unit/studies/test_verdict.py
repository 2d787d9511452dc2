"""What a study is said to show, on studies whose truth is planted."""

from __future__ import annotations

import json
import math
import re
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest, t

from kdviz.metrics import paired_difference
from kdviz.metrics.equivalence import equivalence_p_value
from kdviz.narrative.sweeps import document, sentences
from kdviz.studies.sweep.runner import PREDICTIONS_SCHEMA, STUDIES, STUDY_SCHEMA
from kdviz.studies.sweep.verdict import best_by_validation, verdict

SAMPLES = 2000


class Planted:
    """A study of the temperature with planted shares of right answers.

    ``accuracies`` has value (None: the student alone) -> (validation, test); each seed is right on its own samples.
    """

    def __init__(self, accuracies: dict, seeds=(0, 1, 2), study: str = "temperature", samples: int = SAMPLES):
        random = np.random.default_rng(5)
        self.study, self.rows, self.said = study, [], []
        self.labels = {split: random.integers(0, 10, samples) for split in ("validation", "test")}
        hard = {split: random.random(samples) for split in self.labels}  # the same samples are hard for all
        for split, labels in self.labels.items():
            self.said.append({"run": "data", "role": "label", "split": split, "predicted": labels})
        for value, shares in accuracies.items():
            for seed in seeds:
                for split, share in zip(self.labels, shares, strict=True):
                    wrong = hard[split] + random.normal(0, 0.02, samples) > share
                    self.add(value, seed, split, (self.labels[split] + wrong) % 10)

    def add(self, value, seed: int, split: str, predicted: np.ndarray, **more) -> None:
        run, role = f"{value}-{seed}", "student" if value is None else "kd_student"
        accuracy = round(float((predicted == self.labels[split]).mean()), 6)
        row = {"run": run, "role": role, "seed": seed, "split": split, "accuracy": accuracy, "samples": len(predicted)}
        self.rows.append({**row, STUDIES[self.study].column: value, **more})
        self.said.append({"run": run, "role": role, "split": split, "predicted": predicted})

    @property
    def tables(self):
        return pa.Table.from_pylist(self.rows, STUDY_SCHEMA), pa.Table.from_pylist(self.said, PREDICTIONS_SCHEMA)

    def judged(self, **options):
        return verdict(*self.tables, self.study, **options)


def points(share: float) -> str:
    return f"{100 * share:+.2f}"


SAYS = {
    "beats": "beats training alone: ",
    "does not beat": "does not beat training alone: ",
    "is equivalent to": "is as good as training alone within 1.0 points: ",
    "cannot be told from": "cannot be told from training alone with 3 seeds and 2,000 samples: ",
}


@pytest.mark.parametrize(
    ("share", "margin", "outcome"),
    [
        (0.95, 0.005, "beats"),
        (0.80, 0.005, "does not beat"),
        (0.90, 0.01, "is equivalent to"),
        (0.90, 0.0005, "cannot be told from"),
    ],
    ids=str,
)
@pytest.mark.parametrize("study", ["temperature", "teacher-epochs"])
def test_what_is_planted_is_found(share, margin, outcome, study):
    judged = Planted({None: (0.9, 0.9), 4: (share, share)}, study=study).judged(margin=margin)
    assert judged.outcome == outcome
    assert judged.accuracy == pytest.approx(share, abs=0.02)
    assert judged.alone == pytest.approx(0.9, abs=0.02)
    assert judged.difference.value == pytest.approx(judged.accuracy - judged.alone)
    assert (judged.difference.seeds, judged.difference.samples, len(judged.tests)) == (3, SAMPLES, 3)
    name = f"{STUDIES[study].unit} = 4"
    name = f"from a teacher stopped after {name.removeprefix('epochs = ')} epochs" if "epochs" in name else f"at {name}"
    start = f"Distillation {name}, the best by validation, {SAYS[outcome]}{judged.accuracy:.2%} against"
    assert sentences(judged)[0].startswith(start)
    assert "3 seeds and 2,000 samples" in sentences(judged)[0]
    assert not any("one seed" in sentence.lower() for sentence in sentences(judged))


def test_the_interval_in_words_is_the_interval():
    judged = Planted({None: (0.9, 0.9), 4.0: (0.95, 0.95)}).judged()
    difference = judged.difference
    value, low, high = (100 * end for end in (difference.value, difference.low, difference.high))
    assert f"({value:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}," in sentences(judged)[0]
    assert 0 < difference.low < difference.value < difference.high


def test_validation_chooses_and_the_test_set_only_judges():
    # On the test set T = 2 is far better, but nobody who had only the validation samples could know.
    planted = Planted({None: (0.8, 0.8), 2.0: (0.85, 0.99), 4.0: (0.90, 0.82)})
    table, _ = planted.tables
    assert best_by_validation(table, "temperature") == 4.0
    judged = planted.judged()
    assert judged.value == 4.0
    assert judged.accuracy == pytest.approx(0.82, abs=0.02)
    assert planted.judged(split="validation").accuracy == pytest.approx(0.90, abs=0.02)


def test_a_value_that_was_asked_for_is_not_called_the_best():
    planted = Planted({None: (0.8, 0.8), 2.0: (0.85, 0.99), 4.0: (0.90, 0.82)})
    judged = planted.judged(value=2.0)
    assert (judged.value, judged.outcome) == (2.0, "beats")
    assert sentences(judged)[0].startswith("Distillation at T = 2 beats training alone: ")


def test_the_first_of_equally_good_values_is_chosen():
    planted = Planted({None: (0.8, 0.8)})
    for value in (8.0, 2.0):
        for split, labels in planted.labels.items():
            planted.add(value, 0, split, labels)
    assert best_by_validation(planted.tables[0], "temperature") == 2.0


def test_one_seed_is_said_to_be_one():
    judged = Planted({None: (0.9, 0.9), 4.0: (0.95, 0.95)}, seeds=(3,)).judged()
    difference = judged.difference
    assert sentences(judged)[0] == (
        f"Distillation at T = 4, the best by validation, cannot be judged with one seed: {judged.accuracy:.2%} against "
        f"{judged.alone:.2%} for training alone ({points(difference.value)} points, 95 % interval "
        f"{points(difference.low)} to {points(difference.high)} over 2,000 samples, which says nothing about other "
        "seeds)."
    )
    assert difference.low > 0  # however sure it looks
    assert (judged.outcome, judged.withheld) == ("cannot be told from", True)
    assert not any("beats" in sentence for sentence in sentences(judged))
    assert math.isnan(difference.seed_error)
    assert "in 1 of 1 seed (p < .05)" in sentences(judged)[1]


def test_one_seed_says_nothing_of_the_values_either():
    judged = Planted({None: (0.8, 0.8), 1.0: (0.82, 0.82), 4.0: (0.93, 0.93)}, seeds=(0,)).judged()
    assert [pair.outcome for pair in judged.pairs] == ["cannot tell"]
    assert (judged.rivals, judged.steps) == ((1.0,), ())
    assert not any("T = 1" in sentence for sentence in sentences(judged))


def test_rivals_are_those_that_cannot_be_told_from_the_best():
    judged = Planted(
        {None: (0.8, 0.8), 1.0: (0.82, 0.82), 4.0: (0.93, 0.93), 8.0: (0.929, 0.929), 16.0: (0.85, 0.85)}
    ).judged()
    assert judged.value == 4.0
    assert judged.rivals == (8.0,)
    outcomes = {(pair.first, pair.second): pair.outcome for pair in judged.pairs}
    assert outcomes[4.0, 8.0] == "cannot tell"
    assert {outcome for pair, outcome in outcomes.items() if pair != (4.0, 8.0)} == {"different"}
    assert "Cannot be told from it with 3 seeds and 2,000 samples: T = 8." in sentences(judged)
    wide = judged.within(0.02)
    assert (wide.rivals, wide.margin) == ((8.0,), 0.02)
    assert "As good as it within 2.0 points: T = 8." in sentences(wide)
    alone = Planted({None: (0.8, 0.8), 1.0: (0.82, 0.82), 4.0: (0.93, 0.93)}).judged()
    assert alone.rivals == ()
    assert not any("Cannot be told from it" in sentence for sentence in sentences(alone))


def test_fixed_and_broken_are_counted_seed_by_seed():
    planted = Planted({None: (0.8, 0.8), 4.0: (0.9, 0.9)}, seeds=(0, 1))
    judged = planted.judged()
    said = {row["run"]: np.array(row["predicted"]) for row in planted.said if row["split"] == "test"}
    for seed, test in enumerate(judged.tests):
        before, after = (said[f"{value}-{seed}"] == said["data"] for value in (None, 4.0))
        assert test.fixed == (after & ~before).sum() > 0
        assert test.broke == (before & ~after).sum()
        assert test.p_value == pytest.approx(binomtest(test.broke, test.fixed + test.broke).pvalue)
    fixed = sorted(test.fixed for test in judged.tests)
    assert f"It fixes {fixed[0]} to {fixed[1]} samples" in sentences(judged)[1]
    assert "in 2 of 2 seeds (p < .05)" in sentences(judged)[1]


def test_only_seeds_that_both_have_are_compared():
    planted = Planted({None: (0.9, 0.9), 4.0: (0.95, 0.95)}, seeds=(0, 1))
    for split in planted.labels:
        planted.add(4.0, 2, split, np.zeros(SAMPLES, int))  # alone, there is no seed 2
    judged = planted.judged()
    assert judged.difference.seeds == 2
    assert judged.accuracy == pytest.approx(0.95, abs=0.02)
    # Whether seed s of one is compared with seed s of the other shows where samples are paired: shuffled, it is worse.
    assert judged.difference.sample_error < 0.01


def test_rivals_of_the_best_may_differ_from_each_other():
    """The best differs much from seed to seed; the other two hardly, and are surely not the same."""
    planted = Planted({None: (0.8, 0.8), 1.0: (0.85, 0.85), 2.0: (0.88, 0.88)})
    for seed, share in enumerate((0.78, 0.90, 0.99)):
        for split, labels in planted.labels.items():
            wrong = np.arange(SAMPLES) >= SAMPLES * (0.99 if split == "validation" else share)
            planted.add(4.0, seed, split, (labels + wrong) % 10)
    judged = planted.judged()
    assert (judged.value, set(judged.rivals)) == (4.0, {1.0, 2.0})
    (apart,) = [pair for pair in judged.pairs if pair.apart]
    difference = apart.difference
    assert (
        f"Of 3 pairs of values these differ (Holm's method): T = 1 and T = 2 ({points(difference.value)} points, 95 % "
        f"interval {points(difference.low)} to {points(difference.high)})."
    ) in sentences(judged)
    assert 0 < difference.low < difference.value < difference.high


def tables_of(planted: Planted) -> dict:
    """Value -> bool (seeds, samples) on the test split."""
    said = {row["run"]: row["predicted"] for row in planted.said if row["split"] == "test"}
    values = list(dict.fromkeys(row["temperature"] for row in planted.rows))
    return {value: np.array([said[f"{value}-{seed}"] == said["data"] for seed in range(3)]) for value in values}


def test_all_pairs_are_compared_and_corrected_for():
    planted = Planted({None: (0.8, 0.8), 1.0: (0.90, 0.90), 2.0: (0.905, 0.905), 4.0: (0.91, 0.91), 8.0: (0.93, 0.93)})
    judged, right = planted.judged(margin=0.03), tables_of(planted)
    assert [(pair.first, pair.second) for pair in judged.pairs] == list(combinations((1.0, 2.0, 4.0, 8.0), 2))
    plain = [paired_difference(right[pair.first], right[pair.second]) for pair in judged.pairs]
    for name, p_values in (
        ("p_different", [difference.p_value for difference in plain]),
        ("p_equivalent", [equivalence_p_value(difference, 0.03) for difference in plain]),
    ):
        ordered = sorted(p_values)
        # Holm: the k-th smallest of m times m - k + 1, and none below a smaller one's.
        wanted = [max(min(1, (6 - rank) * p) for rank, p in enumerate(ordered) if p <= own) for own in p_values]
        assert [getattr(pair, name) for pair in judged.pairs] == pytest.approx(wanted)
    for pair in judged.pairs:
        equal, apart = pair.p_equivalent < 0.05, pair.p_different < 0.05
        assert pair.outcome == ("equivalent" if equal else "different" if apart else "cannot tell")
    assert {pair.outcome for pair in judged.pairs} >= {"equivalent", "different"}


def test_neighbouring_values_have_intervals_that_hold_together():
    planted = Planted({None: (0.8, 0.8), 1.0: (0.82, 0.82), 4.0: (0.93, 0.93), 16.0: (0.90, 0.90)})
    judged, right = planted.judged(), tables_of(planted)
    assert [(step.first, step.second) for step in judged.steps] == [(1.0, 4.0), (4.0, 16.0)]
    for step in judged.steps:
        plain = paired_difference(right[step.first], right[step.second], level=0.975)  # 1 - .05 / 2
        assert (step.low, step.high) == pytest.approx((plain.low, plain.high))
    texts = [
        f"T = {step.first:g} to T = {step.second:g} {points(step.difference.value)} ({points(step.low)} to "
        f"{points(step.high)})"
        for step in judged.steps
    ]
    assert (
        f"From each value to the next, in points, with 95 % intervals that hold together: {'; '.join(texts)}."
        in sentences(judged)
    )


@pytest.mark.parametrize(("margin", "words"), [(0.0005, "0.05"), (0.0002, "0.02"), (0.01, "1.0")])
def test_the_margin_and_the_interval_are_in_the_sentence(margin, words):
    planted = Planted({None: (0.9, 0.9), 4.0: (0.9, 0.9)})
    judged = planted.judged(margin=margin)
    equivalence, difference = judged.equivalence, judged.difference
    if judged.outcome == "is equivalent to":
        assert -margin < equivalence.low < equivalence.high < margin
        ends = (
            f"90 % interval {points(equivalence.low)} to {points(equivalence.high)}, over 3 seeds and 2,000 samples)."
        )
        assert f"within {words} points" in sentences(judged)[0]
    else:
        assert difference.low < 0 < difference.high
        ends = (
            f"95 % interval {points(difference.low)} to {points(difference.high)}; up to {words} would count as equal)."
        )
        assert judged.samples_needed is None or judged.samples_needed > SAMPLES
    assert sentences(judged)[0].endswith(ends)
    assert judged == planted.judged().within(margin)


def test_how_many_samples_would_decide():
    judged = Planted({None: (0.9, 0.9), 4.0: (0.9, 0.9)}, samples=400).judged(margin=0.002)
    assert judged.outcome == "cannot be told from"
    if judged.samples_needed is None:
        assert sentences(judged)[1] == "More samples alone would not decide; more seeds might."
        return
    (count,) = re.findall(r"^About ([\d,]+) samples would decide, if all else stayed as it is\.$", sentences(judged)[1])
    assert judged.samples_needed <= int(count.replace(",", "")) <= 1.1 * judged.samples_needed


def test_a_difference_that_is_sure_but_too_small_to_matter():
    planted = Planted({None: (0.9, 0.9), 4.0: (0.91, 0.91)})
    judged = planted.judged(margin=0.05)
    difference = judged.difference
    assert difference.low > 0
    assert judged.outcome == "is equivalent to"
    ends = f"{points(difference.low)} to {points(difference.high)}"
    text = f"It is better, but by too little to matter: 95 % interval {ends} points."
    assert sentences(judged)[1] == text
    assert planted.judged(margin=0.001).outcome == "beats"


@pytest.mark.parametrize("poor", ["kd_student", "student"])
def test_near_chance_there_is_no_verdict(poor):
    accuracies = {None: (0.9, 0.9), 4.0: (0.9, 0.9)}
    accuracies[4.0 if poor == "kd_student" else None] = (0.11, 0.11)
    judged = Planted(accuracies).judged()
    (doubt,) = judged.doubts
    assert (doubt.kind, doubt.role) == ("chance", poor)
    assert doubt.low <= doubt.chance < doubt.high
    assert 0.1 <= doubt.chance < 0.15
    who = "its" if poor == "kd_student" else "the"
    assert sentences(judged)[0].startswith(
        f"Distillation at T = 4, the best by validation, cannot be judged: {who} {doubt.accuracy:.2%} "
    )
    assert f"is not above chance, {doubt.chance:.2%} (95 % interval {doubt.low:.2%} to" in sentences(judged)[0]
    assert (judged.outcome, judged.withheld) == ("cannot be told from", True)
    assert not any("beat" in sentence for sentence in sentences(judged))


def test_well_above_chance_there_is_no_doubt():
    assert Planted({None: (0.2, 0.2), 4.0: (0.3, 0.3)}).judged().doubts == ()


def test_a_class_that_is_never_predicted_is_said_first():
    planted = Planted({None: (0.9, 0.9), 4.0: (0.95, 0.95)})
    labels = dict(planted.labels)
    planted.rows, planted.said = [], [row for row in planted.said if row["role"] == "label"]
    for value in (None, 4.0):
        for seed in range(3):
            for split, truth in labels.items():
                predicted = truth.copy()
                predicted[seed :: 20 if value is None else 40] += 1
                predicted %= 10
                predicted[predicted == 3] = 5 if value == 4.0 else 3
                planted.add(value, seed, split, predicted)
    judged = planted.judged()
    (doubt,) = judged.doubts
    assert (doubt.kind, doubt.role, doubt.classes) == ("never predicted", "kd_student", (3,))
    assert sentences(judged)[0] == (
        "Distillation at T = 4, the best by validation, gives students that never predict some classes (numbered from "
        "0): 3."
    )
    assert judged.outcome == "does not beat"  # it is not withheld
    assert "does not beat training alone" in sentences(judged)[1]


def with_teacher(planted: Planted, shares: dict, errors: int = 200) -> Planted:
    """A teacher of so many errors, and what each seed repeats of them."""
    for row in planted.rows:
        row["inherited_errors"] = shares[row["temperature"]][row["seed"]]
    for split in ("validation", "test"):
        teacher = {"run": "teacher", "role": "teacher", "split": split, "accuracy": 1 - errors / SAMPLES}
        planted.rows.append({**teacher, "samples": SAMPLES})
    return planted


@pytest.mark.parametrize(
    ("own", "outcome", "start"),
    [
        ((0.60, 0.62, 0.61), "more", "It copies mistakes"),
        ((0.10, 0.12, 0.11), "fewer", "It copies fewer mistakes"),
        ((0.40, 0.50, 0.30), "cannot tell", "Whether it copies mistakes cannot be told"),
        ((0.60, 0.90, 0.35), "cannot tell", "Whether it copies mistakes cannot be told"),
    ],
    ids=str,
)
def test_the_teachers_errors_are_told_with_an_interval(own, outcome, start):
    planted = with_teacher(Planted({None: (0.8, 0.8), 4.0: (0.9, 0.9)}), {None: (0.30, 0.33, 0.30), 4.0: own})
    copying = planted.judged().copying
    assert (copying.outcome, copying.errors, copying.seeds) == (outcome, 200, 3)
    apart = np.subtract(own, (0.30, 0.33, 0.30))
    assert copying.value == pytest.approx(apart.mean())
    # By hand: seeds alone by Student's t with 2 degrees; errors alone as two shares of 200, by 4 more each.
    over_seeds = t.ppf(0.975, 2) * apart.std(ddof=1) / math.sqrt(3)
    shares = [(200 * np.mean(share) + 2) / 204 for share in (own, (0.30, 0.33, 0.30))]
    over_errors = t.ppf(0.975, 199) * math.sqrt(sum(share * (1 - share) for share in shares) / 200)
    half = (copying.high - copying.low) / 2
    assert max(over_seeds, over_errors) * (1 - 1e-9) <= half <= 1.05 * math.hypot(over_seeds, over_errors)
    assert sentences(planted.judged())[-1] == (
        f"{start}: of its teacher's errors (200) it repeats {np.mean(own):.1%}, the student alone 31.0% "
        f"({100 * copying.value:+.1f} points, 95 % interval {100 * copying.low:+.1f} to {100 * copying.high:+.1f}, "
        "over 3 seeds)."
    )


def test_copying_with_one_seed_cannot_be_told():
    planted = with_teacher(Planted({None: (0.8, 0.8), 4.0: (0.9, 0.9)}, seeds=(0,)), {None: (0.1,), 4.0: (0.9,)})
    copying = planted.judged().copying
    assert copying.low > 0
    assert copying.outcome == "cannot tell"
    assert "over one seed)." in sentences(planted.judged())[-1]


def test_copying_is_not_told_of_what_is_not_known():
    assert Planted({None: (0.8, 0.8), 4.0: (0.9, 0.9)}).judged().copying is None
    planted = with_teacher(Planted({None: (0.8, 0.8), 4.0: (0.9, 0.9)}), {None: (None,) * 3, 4.0: (0.4,) * 3})
    assert planted.judged().copying is None
    perfect = with_teacher(Planted({None: (0.8, 0.8), 4.0: (0.9, 0.9)}), {None: (0.1,) * 3, 4.0: (0.4,) * 3}, errors=0)
    assert perfect.judged().copying is None


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=str)
def test_it_is_valid_json(seeds):
    judged = Planted({None: (0.8, 0.8), 1.0: (0.82, 0.82), 4.0: (0.93, 0.93)}, seeds=seeds).judged()
    said = json.loads(json.dumps(document(judged), allow_nan=False))
    assert said["outcome"] == judged.outcome
    equivalence = judged.equivalence
    assert said["equivalence"]["margin"] == 0.005
    assert (said["equivalence"]["low"], said["equivalence"]["high"]) == (equivalence.low, equivalence.high)
    assert said["difference"]["low"] == judged.difference.low
    assert (said["difference"]["seed_error"] is None) == (len(seeds) == 1)
    assert [pair["outcome"] for pair in said["pairs"]] == [pair.outcome for pair in judged.pairs]
    assert said["sentences"] == list(sentences(judged))
    if len(seeds) == 1:
        assert said["equivalence"]["outcome"] == "cannot tell"


def test_losses_are_shown_by_their_names():
    planted = Planted({None: (0.8, 0.8), "dist": (0.9, 0.9), "decoupled": (0.9, 0.9)}, study="loss")
    judged = planted.judged(value="dist")
    assert sentences(judged)[0].startswith("Distillation with the loss dist beats training alone")
    assert "Cannot be told from it with 3 seeds and 2,000 samples: decoupled." in sentences(judged)
    assert judged.steps == ()  # names have no order


def test_equal_predictions_are_called_that():
    planted = Planted({None: (0.8, 0.8), 4.0: (0.8, 0.8)})
    for table, name in ((planted.said, "predicted"), (planted.rows, "accuracy")):
        known = {(row["run"], row["split"]): row for row in table}
        for (run, split), row in known.items():
            row[name] = known[run.replace("4.0", "None"), split][name]
    judged = planted.judged()
    assert sentences(judged)[0].startswith(
        "Distillation at T = 4, the best by validation, gives the same predictions as"
    )
    assert not any("McNemar" in sentence for sentence in sentences(judged))


@pytest.mark.parametrize("missing", [None, 4.0], ids=["alone", "students"])
def test_without_one_of_both_there_is_no_verdict(missing):
    accuracies = {None: (0.8, 0.8), 4.0: (0.9, 0.9)}
    del accuracies[missing]
    assert Planted(accuracies).judged() is None


def test_without_predictions_there_is_no_verdict():
    table, predictions = Planted({None: (0.8, 0.8), 4.0: (0.9, 0.9)}).tables
    assert verdict(table, predictions.slice(0, 0), "temperature") is None
    assert verdict(table, predictions, "temperature", value=64.0) is None


def test_no_seed_in_common_is_no_verdict():
    planted = Planted({None: (0.8, 0.8)}, seeds=(0,))
    for split, labels in planted.labels.items():
        planted.add(4.0, 1, split, labels)
    assert planted.judged() is None


def test_labels_of_other_data_in_the_same_file_are_not_believed():
    planted = Planted({None: (0.8, 0.8), 4.0: (0.9, 0.9)})
    for split in ("validation", "test"):  # they come first, and are as many
        other = np.random.default_rng(9).integers(0, 10, SAMPLES)
        planted.said.insert(0, {"run": "other data", "role": "label", "split": split, "predicted": other})
    judged = planted.judged()
    assert judged.accuracy == pytest.approx(0.9, abs=0.02)
    assert judged.outcome == "beats"
