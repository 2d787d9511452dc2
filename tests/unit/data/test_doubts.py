"""Doubts about data and models: said where they are true, and nowhere else; each sentence has its figures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SMALL
from safetensors.torch import save_file

from kdviz.cli import main
from kdviz.core.language import speaking
from kdviz.data import LabelledImages
from kdviz.data.doubts import (
    KEY,
    Doubt,
    answer_doubts,
    copies,
    normalisation_doubt,
    of_predictions,
    recorded_doubts,
    unpredicted,
)
from kdviz.data.doubts.answers import _chance, _usual_normalisations
from kdviz.distill import TrainingConfig, fit, train_experiment
from kdviz.distill.checks import logits_doubts
from kdviz.distill.experiment_trainer import ModelSource
from kdviz.distill.recipes import model_source
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import Experiment, load_experiment
from kdviz.studies.predictions.evaluation import evaluate

TEN = tuple("abcdefghij")


def answers(labels: np.ndarray, right: float, seed: int, classes: int) -> np.ndarray:
    """Right with this probability, else any class."""
    random = np.random.default_rng(seed)
    guess = random.integers(0, classes, len(labels))
    return np.where(random.random(len(labels)) < right, labels, guess)


def kinds(doubts: list[Doubt]) -> list[str]:
    return [doubt.kind for doubt in doubts]


# chance ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 7])
def test_chance_is_what_shuffled_answers_reach(classes):
    random = np.random.default_rng(0)
    labels = random.choice(classes, 60, p=np.arange(1, classes + 1) / sum(range(1, classes + 1)))
    predicted = random.integers(0, classes, 60)
    trials = 4000
    accuracies = np.array([(random.permutation(predicted) == labels).mean() for _ in range(trials)])
    mean, deviation = _chance(labels, predicted, classes)
    # Five standard errors: of a mean sd / sqrt(n), of a standard deviation about sd / sqrt(2 n).
    assert mean == pytest.approx(accuracies.mean(), abs=5 * deviation / trials**0.5)
    assert deviation == pytest.approx(accuracies.std(), abs=5 * deviation / (2 * trials) ** 0.5)


@pytest.mark.parametrize(("classes", "count"), [(10, 150), (100, 300)])
def test_guesses_are_no_better_than_chance_and_no_order_is(classes, count):
    said, names = [], tuple(map(str, range(classes)))
    for seed in range(200):
        labels = np.random.default_rng(seed).integers(0, classes, count)
        said += kinds(answer_doubts("teacher", "test", labels, answers(labels, 0, 1000 + seed, classes), names))
    assert "order" not in said  # although the best order fits many samples by luck: most of them, of 100 classes
    # Luck reaches at most this in 95 % (92 % with 3 right answers expected, whose number is no normal variable), so
    # that of 200 models at least 200 (.92 - 5 sqrt(.92 .08 / 200)) are said.
    assert said.count("chance") >= 200 * (0.92 - 5 * (0.92 * 0.08 / 200) ** 0.5)


@pytest.mark.parametrize(("classes", "right"), [(2, 0.6), (10, 0.3), (10, 1.0)])
def test_nothing_is_said_of_a_model_that_knows_something(classes, right):
    labels = np.arange(600) % classes
    for seed in range(50):
        predicted = answers(labels, right, seed, classes)
        assert of_predictions("test", labels, {"teacher": predicted}, TEN[:classes]) == []


def test_a_model_that_always_says_the_same():
    labels = np.repeat([0, 1], [70, 30])
    (doubt,) = answer_doubts("student", "test", labels, np.zeros(100, int), ("a", "b"))
    assert doubt.kind == "chance"
    assert doubt.figures == {"accuracy": 0.7, "samples": 100, "chance": 0.7, "most": 0.7}
    assert doubt.text == (
        "The student alone is right on 70.0% of 100 images of the test split, where guessing as often as it gives each "
        "answer is right on 70.0%, and by luck on up to 70.0%: check the order of its classes, and its input."
    )


def test_weighted_classes_below_the_most_frequent_one_are_no_doubt():
    labels = np.repeat([0, 1], [900, 100])  # always 0 is right on 90 %
    predicted = np.where(np.random.default_rng(0).random(1000) < 0.8, labels, 1 - labels)  # 80 %, but of both
    assert answer_doubts("teacher", "test", labels, predicted, ("a", "b")) == []


@pytest.mark.parametrize(
    "labels", [np.arange(29) % 2, np.zeros(500, int), np.repeat([0, 1], [500, 9])], ids=["few", "one class", "rare"]
)
def test_too_little_to_say_anything(labels):
    for predicted in (np.zeros(len(labels), int), 1 - labels):
        assert answer_doubts("teacher", "test", labels, predicted, ("a", "b")) == []


# another order --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [0.5, 0.97])
def test_classes_in_another_order(right):
    labels = np.arange(500) % 10
    order = np.random.default_rng(1).permutation(10)
    honest = answers(labels, right, 2, 10)
    (doubt,) = answer_doubts("teacher", "validation", labels, order[honest], TEN)
    assert doubt.kind == "order"
    assert doubt.figures["other"] == pytest.approx((honest == labels).mean())
    assert doubt.figures["accuracy"] == pytest.approx((order[honest] == labels).mean())
    moved = [label for label in range(10) if order[label] != label]
    assert doubt.figures["classes"] == len(moved)
    assert sorted(doubt.figures["moved"]) == sorted([TEN[order[label]], TEN[label]] for label in moved)


def test_two_of_a_hundred_classes_that_changed_places():
    classes = tuple(map(str, range(100)))
    labels = np.arange(5000) % 100
    predicted = answers(labels, 0.9, 0, 100)
    predicted = np.select([predicted == 7, predicted == 8], [8, 7], predicted)
    (doubt,) = answer_doubts("teacher", "test", labels, predicted, classes)
    assert (doubt.kind, doubt.figures["moved"]) == ("order", [["7", "8"], ["8", "7"]])
    assert "(2 are elsewhere: '7' seems to mean '8', for one)" in doubt.text


def test_two_classes_that_are_hard_to_tell_apart_are_no_other_order():
    labels = np.arange(400) % 4
    for seed in range(20):
        mixed = np.random.default_rng(seed).random(400) < 0.55  # classes 0 and 1 a little more wrong than right
        predicted = np.where((labels < 2) & mixed, 1 - labels, labels)
        assert "order" not in kinds(answer_doubts("teacher", "test", labels, predicted, TEN[:4]))


# labels never answered ------------------------------------------------------------------------------------------------


def test_labels_that_no_model_answers():
    labels = np.repeat([0, 1, 2, 3], [40, 40, 12, 9])
    first, second = np.where(labels == 1, 1, 0), np.zeros(101, int)
    (doubt,) = unpredicted("test", labels, [first, second], TEN[:4])
    assert doubt.figures == {"classes": ["c"], "samples": 12, "total": 101}  # of d there are too few
    assert doubt.text == "No model ever answers 'c', though 12 of 101 images of the test split are labelled so."
    (doubt,) = unpredicted("test", labels, [second], TEN[:4], "kd_student")
    assert doubt.text.startswith("The KD student never answers 'b', 'c', though 52 of 101 images")
    assert unpredicted("test", labels, [first, np.full(101, 2)], TEN[:4]) == []


# the input ------------------------------------------------------------------------------------------------------------


def bright(count: int, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose class is their brightness: dark, middle, bright."""
    labels = torch.arange(count) % 3
    noise = torch.randint(-20, 21, (count, channels, 6, 6), generator=torch.Generator().manual_seed(0))
    return (60 + 70 * labels[:, None, None, None] + noise).to(torch.uint8), labels


def knows_brightness(mean, std, seen: list[int]):
    """A model that undoes its own normalisation, and tells the classes by the mean."""

    def predict(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(len(inputs))
        own = [torch.tensor(values).view(1, -1, 1, 1) for values in (mean, std)]
        level = ((inputs * own[1] + own[0]) * 255).mean((1, 2, 3))
        return -(level[:, None] - torch.tensor([60.0, 130.0, 200.0])).abs()

    return predict


@pytest.mark.parametrize("channels", [1, 3])
def test_the_normalisation_that_a_model_learned_from_is_named(channels):
    images, labels = bright(900, channels)
    usual = _usual_normalisations(channels)
    for expected, own in usual.items():
        for present, given in usual.items():
            seen: list[int] = []
            doubts = normalisation_doubt("teacher", "test", knows_brightness(*own, seen), images, labels, given)
            if present == expected:
                assert doubts == []
                assert sum(seen) == 500  # and no other is tried
            elif doubts:
                assert doubts[0].figures["normalisation"] == expected
                assert doubts[0].figures["other"] == 1.0
                # all under the present one and the right one, and only a few under one that puts none of them right
                assert 1000 <= sum(seen) <= (500 + 24) * len(usual)
            else:  # near enough for these images
                assert sum(seen) <= 500 + 24 * len(usual) or {expected, present} <= {"imagenet", "half", "mnist"}
    swapped = normalisation_doubt(
        "teacher", "test", knows_brightness(*usual["bytes"], []), images, labels, usual["unit"]
    )
    assert "on 100.0% with values from 0 to 255" in swapped[0].text


def test_no_normalisation_is_far_better_for_a_model_that_guesses():
    images, labels = bright(300, 1)
    generator = torch.Generator().manual_seed(0)

    def guess(inputs: torch.Tensor) -> torch.Tensor:
        return torch.randn(len(inputs), 3, generator=generator)

    for _ in range(50):
        assert normalisation_doubt("teacher", "test", guess, images, labels, ((0.0,), (1.0,))) == []


# copies ---------------------------------------------------------------------------------------------------------------


def split(images: torch.Tensor, labels: list[int], name: str) -> LabelledImages:
    return LabelledImages(images, torch.tensor(labels), ("a", "b"), name)


def test_copies_are_found_by_their_pixels_and_blank_images_are_none():
    images = torch.randint(0, 256, (6, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[2], images[5] = 255, 255
    train = split(images, [0, 1, 0, 1, 0, 1], "train")
    test = split(torch.stack([images[3], images[2], images[4].flip(2), images[0]]), [1, 1, 0, 1], "test")
    doubts = copies({"train": train, "test": test})
    assert kinds(doubts) == ["overlap", "labels"]
    assert doubts[0].figures == {
        "other": "train",
        "count": 2,
        "samples": 4,
        "examples": [["test/0", "train/3"], ["test/3", "train/0"]],
    }
    assert doubts[1].figures == {"count": 1, "example": ["train/0", "a", "test/3", "b"]}
    assert copies({"train": train, "test": split(images[4:5].flip(2), [0], "test")}) == []


def test_a_contradiction_within_one_split():
    images = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4).repeat(3, 1, 1, 1)
    (doubt,) = copies({"train": split(images, [0, 1, 1], "train")})
    assert doubt.text == (
        "1 image is there several times with different labels, pixel for pixel (the first is 'train/0', 'a', and "
        "'train/1', 'b'): some of these labels are wrong."
    )


# in training ----------------------------------------------------------------------------------------------------------

QUICK = TrainingConfig(epochs=1, batch_size=32, device="cpu", bf16="off")


@pytest.fixture(scope="module")
def splits(small_digits) -> dict[str, LabelledImages]:
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    parts = {"train": order[:600], "validation": order[600:800], "test": order[800:1000]}
    return {name: small_digits.take(index, name) for name, index in parts.items()}


@pytest.fixture(scope="module")
def learned(splits):
    """A network that knows the digits: about 85 % of them."""
    network = new_network("paper_fc", SMALL, 10, 0)
    for _ in fit(network, splits["train"], splits["validation"], SMALL.normalise, replace(QUICK, epochs=6)):
        pass
    return network


def teacher(learned, path, order=None, scale: float = 1.0) -> ModelSource:
    """It as a checkpoint: with its classes in another order, or as if it had learned from other input."""
    state = {name: value.clone() for name, value in learned.state_dict().items()}
    first, last = [name for name in state if name.endswith("weight")][:: len(state) // 2 - 1]
    if order is not None:
        for name in (last, last.replace("weight", "bias")):
            state[name] = state[name][order]
    state[first] *= scale
    save_file(state, path)
    return model_source("paper_fc", SMALL, checkpoint=path)


def trained(splits, out, **more):
    stages = list(train_experiment(splits, SMALL, "folder", out, QUICK, student=ModelSource("paper_fc"), **more))
    return load_experiment(out), stages


def test_a_teacher_with_its_classes_in_another_order_is_said_before_its_student(splits, learned, tmp_path):
    order = torch.arange(10).roll(1)
    experiment, stages = trained(splits, tmp_path / "e", teachers=[teacher(learned, tmp_path / "t.safetensors", order)])
    assert stages[0].name == "teacher"
    (sentence,) = stages[0].warnings
    assert "with its classes in another order (10 are elsewhere" in sentence
    assert all(not stage.warnings for stage in stages[1:])
    kept = json.loads((tmp_path / "e" / "experiment.json").read_text())["runs"][0]["training"][KEY]
    assert [(doubt["kind"], doubt["split"], doubt["role"]) for doubt in kept] == [("order", "validation", "teacher")]
    assert [doubt.text for doubt in recorded_doubts(experiment)] == [sentence]
    assert kept[0]["figures"]["other"] > 0.7 > 0.2 > kept[0]["figures"]["accuracy"]


def test_a_good_teacher_is_no_doubt(splits, learned, tmp_path):
    experiment, stages = trained(splits, tmp_path / "e", teachers=[teacher(learned, tmp_path / "t.safetensors")])
    assert not any(stage.warnings for stage in stages)
    assert recorded_doubts(experiment) == []
    assert all(KEY not in run.training for run in experiment.runs.values())


def test_logits_in_another_order(splits, learned, tmp_path):
    logits = torch.roll(10.0 * torch.eye(10), 3, 1)[splits["train"].labels]
    experiment, stages = trained(splits, tmp_path / "e", teachers=[], teacher_logits=logits)
    assert (stages[0].name, stages[0].number) == ("teacher", 0)
    assert "The teacher is right on 0.0% of 600 images of the training split, and would be on 100.0%" in str(stages[0])
    assert kinds(recorded_doubts(experiment)) == ["order"]
    assert "doubts" in experiment.runs["kd_student"].training
    assert logits_doubts("teacher", logits.roll(-3, 1), splits["train"]) == []


def test_data_that_overlap_are_said_first(splits, tmp_path):
    twice = {**splits, "test": splits["train"].take(torch.arange(50), "test")}
    _, stages = trained(twice, tmp_path / "e", teachers=[ModelSource("paper_fc")])
    assert stages[0].name == "data"
    (sentence,) = stages[0].warnings
    assert sentence.startswith("50 of 50 images (100.0%) of the test split are also in the training split")


def test_evaluation_keeps_doubts_of_each_split_and_replaces_them(splits, learned, tmp_path):
    experiment = Experiment(tmp_path / "e", "folder", splits["train"].classes, SMALL, {})
    experiment.add_run("teacher", "paper_fc", learned.eval(), {}, {})
    experiment.add_run("student", "paper_fc", new_network("paper_fc", SMALL, 10, 3).eval(), {}, {})
    experiment.save()
    wrong = replace(splits["test"], labels=(splits["test"].labels + 1) % 10)
    for _ in range(2):
        list(evaluate(experiment, wrong, "cpu"))
        opened = load_experiment(tmp_path / "e")
        teachers = [doubt for doubt in recorded_doubts(opened) if doubt.role == "teacher"]
        assert [(doubt.kind, doubt.split) for doubt in teachers] == [("order", "test")]
        assert kinds(Doubt.from_json(record) for record in opened.runs["teacher"].training[KEY]).count("order") == 1
        assert "chance" in {doubt.kind for doubt in recorded_doubts(opened) if doubt.role == "student"}
    list(evaluate(experiment, splits["test"], "cpu"))
    assert [doubt for doubt in recorded_doubts(load_experiment(tmp_path / "e")) if doubt.role == "teacher"] == []
    assert KEY not in experiment.runs["teacher"].training or all(
        record["role"] != "teacher" for record in experiment.runs["teacher"].training[KEY]
    )


def test_another_normalisation_is_found_when_a_model_is_evaluated(splits, tmp_path):
    unit, half = replace(SMALL, mean=(0.0,), std=(1.0,)), replace(SMALL, mean=(0.5,), std=(0.5,))
    network = new_network("paper_fc", SMALL, 10, 0)
    for _ in fit(network, splits["train"], splits["validation"], unit.normalise, replace(QUICK, epochs=6)):
        pass
    for spec, expected in ((unit, []), (half, ["unit"])):
        experiment = Experiment(tmp_path / "e", "folder", splits["train"].classes, spec, {})
        experiment.add_run("teacher", "paper_fc", network.eval(), {}, {})
        list(evaluate(experiment, splits["test"], "cpu"))
        opened = load_experiment(tmp_path / "e")
        inputs = [doubt for doubt in recorded_doubts(opened) if doubt.kind == "normalisation"]
        assert [doubt.figures["normalisation"] for doubt in inputs] == expected
        assert "chance" not in kinds(recorded_doubts(opened))


def test_kdviz_evaluate_says_doubts_and_has_them_in_its_document(splits, learned, tmp_path, capsys):
    experiment = Experiment(tmp_path / "e", "folder", splits["train"].classes, SMALL, {})
    experiment.add_run("teacher", "paper_fc", learned.eval(), {}, {})
    experiment.save()
    experiment.write_samples([replace(splits["test"], labels=(splits["test"].labels + 1) % 10)])
    for _ in range(2):  # again each time: it is asked each time
        assert main(["evaluate", "-e", str(tmp_path / "e"), "--json", "--device", "cpu"]) == 0
        printed = capsys.readouterr()
        (doubt,) = json.loads(printed.out)["doubts"]
        assert (doubt["kind"], doubt["role"], doubt["split"]) == ("order", "teacher", "test")
        assert doubt["figures"]["other"] > 0.7 > 0.2 > doubt["figures"]["accuracy"]
        assert f"kdviz: warning: {doubt['text']}\n" in printed.err


# in records of others -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        None,
        7,
        "chance",
        {},
        {"kind": "other", "split": "", "role": "", "figures": {}},
        {"kind": "chance", "split": "test", "role": "teacher", "figures": {}},
        {"kind": "chance", "split": "test", "role": "teacher", "figures": {"accuracy": "x", "samples": []}},
        {"kind": "overlap", "split": "test", "role": "", "figures": {"count": 1, "samples": 0, "examples": [["a"]]}},
        {"kind": "order", "split": "test", "role": "", "figures": {"moved": []}},
        {"kind": "depth", "split": "", "role": "", "figures": {"depths": {"x": 1}, "samples": 1}},
    ],
    ids=str,
)
def test_what_is_no_doubt_is_left_out(entry, tiny):
    assert Doubt.from_json(entry) is None
    tiny.runs["teacher"].training[KEY] = [entry]
    assert recorded_doubts(tiny) == []


def test_every_sentence_has_its_figures_in_both_languages():
    said = [
        Doubt("chance", "test", "teacher", {"accuracy": 0.05, "samples": 1234, "chance": 0.1, "most": 0.12}),
        Doubt(
            "order",
            "bundled",
            "int8",
            {"accuracy": 0.05, "other": 0.97, "samples": 500, "classes": 2, "moved": [["x", "y"], ["y", "x"]]},
        ),
        Doubt(
            "normalisation",
            "mine",
            "student",
            {"accuracy": 0.05, "other": 0.97, "samples": 500, "normalisation": "imagenet"},
        ),
        Doubt("unpredicted", "test", "", {"classes": list("vwxyz"), "samples": 50, "total": 100}),
        Doubt("depth", figures={"depths": {"12": 3, "16": 4, "float": 5}, "samples": 20}),
    ]
    for doubt in said:
        assert Doubt.from_json(json.loads(json.dumps(doubt.to_json()))) == doubt
    texts = [doubt.text for doubt in said]
    assert texts[0].startswith("The teacher is right on 5.0% of 1,234 images of the test split")
    assert texts[1].startswith("The model 'int8' is right on 5.0% of 500 images of the bundled digits")
    assert "and on 97.0% with ImageNet's mean and standard deviation" in texts[2]
    assert "'v', 'w', 'x' and 2 more" in texts[3]
    assert "12 of 20 images" in texts[4]
    assert texts[4].endswith("3 of 12 bits by 4,095, 4 of 16 bits by 65,535, 5 of floating point are taken as 0 to 1.")
    with speaking("zh_CN"):
        assert len({doubt.text for doubt in said}) == len(said)
