"""What a study is said to show, on studies whose truth is planted."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from kdviz.analysis.studies import PREDICTIONS_SCHEMA, STUDIES, STUDY_SCHEMA
from kdviz.analysis.verdict import best_by_validation, verdict

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


@pytest.mark.parametrize(
    ("share", "outcome"), [(0.95, "beats"), (0.80, "does not beat"), (0.90, "cannot be told from")], ids=str
)
@pytest.mark.parametrize("study", ["temperature", "teacher-epochs"])
def test_what_is_planted_is_found(share, outcome, study):
    found = Planted({None: (0.9, 0.9), 4: (share, share)}, study=study).judged()
    assert found.outcome == outcome
    assert found.accuracy == pytest.approx(share, abs=0.02)
    assert found.alone == pytest.approx(0.9, abs=0.02)
    assert found.difference.value == pytest.approx(found.accuracy - found.alone)
    assert (found.difference.seeds, found.difference.samples, len(found.tests)) == (3, SAMPLES, 3)
    name = f"{STUDIES[study].unit} = 4"
    name = f"from a teacher stopped after {name.removeprefix('epochs = ')} epochs" if "epochs" in name else f"at {name}"
    start = f"Distillation {name}, the best by validation, {outcome} training alone: {found.accuracy:.2%} against"
    assert found.sentences[0].startswith(start)
    assert "over 3 seeds and 2,000 samples" in found.sentences[0]
    assert not any("one seed" in sentence.lower() for sentence in found.sentences)


def test_the_interval_in_words_is_the_interval():
    found = Planted({None: (0.9, 0.9), 4.0: (0.95, 0.95)}).judged()
    one = found.difference
    points = f"({100 * one.value:+.2f} points, 95 % interval {100 * one.low:+.2f} to {100 * one.high:+.2f},"
    assert points in found.sentences[0]
    assert 0 < one.low < one.value < one.high


def test_validation_chooses_and_the_test_set_only_judges():
    # On the test set T = 2 is far better, but nobody who had only the validation samples could know.
    planted = Planted({None: (0.8, 0.8), 2.0: (0.85, 0.99), 4.0: (0.90, 0.82)})
    table, _ = planted.tables
    assert best_by_validation(table, "temperature") == 4.0
    found = planted.judged()
    assert found.value == 4.0
    assert found.accuracy == pytest.approx(0.82, abs=0.02)
    assert planted.judged(split="validation").accuracy == pytest.approx(0.90, abs=0.02)


def test_a_value_that_was_asked_for_is_not_called_the_best():
    planted = Planted({None: (0.8, 0.8), 2.0: (0.85, 0.99), 4.0: (0.90, 0.82)})
    found = planted.judged(value=2.0)
    assert (found.value, found.outcome) == (2.0, "beats")
    assert found.sentences[0].startswith("Distillation at T = 2 beats training alone: ")


def test_the_first_of_equally_good_values_is_chosen():
    planted = Planted({None: (0.8, 0.8)})
    for value in (8.0, 2.0):
        for split, labels in planted.labels.items():
            planted.add(value, 0, split, labels)
    assert best_by_validation(planted.tables[0], "temperature") == 2.0


def test_one_seed_is_said_to_be_one():
    found = Planted({None: (0.9, 0.9), 4.0: (0.95, 0.95)}, seeds=(3,)).judged()
    assert "over one seed and 2,000 samples" in found.sentences[0]
    assert found.sentences[1] == "With one seed the interval says nothing about other seeds."
    assert math.isnan(found.difference.seed_error)
    assert "in 1 of 1 seed (p < .05)" in found.sentences[2]


def test_rivals_are_those_that_cannot_be_told_from_the_best():
    found = Planted(
        {None: (0.8, 0.8), 1.0: (0.82, 0.82), 4.0: (0.93, 0.93), 8.0: (0.929, 0.929), 16.0: (0.85, 0.85)}
    ).judged()
    assert found.value == 4.0
    assert found.rivals == (8.0,)
    assert "Cannot be told from it: T = 8." in found.sentences
    alone = Planted({None: (0.8, 0.8), 1.0: (0.82, 0.82), 4.0: (0.93, 0.93)}).judged()
    assert alone.rivals == ()
    assert not any("Cannot be told from it" in sentence for sentence in alone.sentences)


def test_fixed_and_broken_are_counted_seed_by_seed():
    planted = Planted({None: (0.8, 0.8), 4.0: (0.9, 0.9)}, seeds=(0, 1))
    found = planted.judged()
    said = {row["run"]: np.array(row["predicted"]) for row in planted.said if row["split"] == "test"}
    for seed, test in enumerate(found.tests):
        before, after = (said[f"{value}-{seed}"] == said["data"] for value in (None, 4.0))
        assert test.fixed == (after & ~before).sum() > 0
        assert test.broke == (before & ~after).sum()
        assert test.p_value == pytest.approx(binomtest(test.broke, test.fixed + test.broke).pvalue)
    fixed = sorted(test.fixed for test in found.tests)
    assert f"It fixes {fixed[0]} to {fixed[1]} samples" in found.sentences[1]
    assert "in 2 of 2 seeds (p < .05)" in found.sentences[1]


def test_only_seeds_that_both_have_are_compared():
    planted = Planted({None: (0.9, 0.9), 4.0: (0.95, 0.95)}, seeds=(0, 1))
    for split in planted.labels:
        planted.add(4.0, 2, split, np.zeros(SAMPLES, int))  # alone, there is no seed 2
    found = planted.judged()
    assert found.difference.seeds == 2
    assert found.accuracy == pytest.approx(0.95, abs=0.02)
    # Whether seed s of one is compared with seed s of the other shows where samples are paired: shuffled, it is worse.
    assert found.difference.sample_error < 0.01


def test_the_teachers_errors_are_told():
    planted = Planted({None: (0.8, 0.8), 4.0: (0.9, 0.9)})
    for row in planted.rows:
        row["inherited_errors"] = {None: 0.3, 4.0: 0.45}[row["temperature"]] + 0.01 * row["seed"]
    assert planted.judged().sentences[-1] == (
        "Of its teacher's errors it repeats 46.0%; the student alone repeats 31.0%."
    )


def test_losses_are_shown_by_their_names():
    planted = Planted({None: (0.8, 0.8), "dist": (0.9, 0.9), "decoupled": (0.9, 0.9)}, study="loss")
    found = planted.judged(value="dist")
    assert found.sentences[0].startswith("Distillation with the loss dist beats training alone")
    assert "Cannot be told from it: decoupled." in found.sentences


def test_equal_predictions_are_called_that():
    planted = Planted({None: (0.8, 0.8), 4.0: (0.8, 0.8)})
    for table, name in ((planted.said, "predicted"), (planted.rows, "accuracy")):
        known = {(row["run"], row["split"]): row for row in table}
        for (run, split), row in known.items():
            row[name] = known[run.replace("4.0", "None"), split][name]
    found = planted.judged()
    assert found.sentences[0].startswith("Distillation at T = 4, the best by validation, gives the same predictions as")
    assert not any("McNemar" in sentence for sentence in found.sentences)


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
    found = planted.judged()
    assert found.accuracy == pytest.approx(0.9, abs=0.02)
    assert found.outcome == "beats"
