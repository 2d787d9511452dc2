"""The bench of a training: both ways train the same networks on the same data, and the rows say how long it took."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from kdviz.bench import Measurement
from kdviz.bench import train as bench
from kdviz.bench.train import TEMPERATURES, _few_digits, _fresh, _OurWay, _UsualWay, bench_train
from kdviz.cli import main
from kdviz.distill import MNIST_INPUT, TrainingConfig, distillation_loss, predict_logits

CONFIG = TrainingConfig(epochs=1, batch_size=25, device="cpu", bf16="off")


@pytest.fixture(scope="module")
def splits(digits):
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    parts = order[:1000].split([500, 100, 400])
    return {name: digits.take(index, name) for name, index in zip(("train", "validation", "test"), parts, strict=True)}


def accuracy(network, samples) -> float:
    logits = predict_logits(network, samples, MNIST_INPUT.normalise, device="cpu")
    return float((logits.argmax(1) == samples.labels).float().mean())


class InOurOrder:
    """A DataLoader that shuffles as kdviz does, from the seed and the epoch."""

    def __init__(self, pictures, batch_size, shuffle=False):
        self.pictures, self.batch_size, self.shuffle, self.epoch = pictures, batch_size, shuffle, 0

    def __iter__(self):
        order = torch.arange(len(self.pictures))
        if self.shuffle:
            self.epoch += 1
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(self.epoch))
        for index in order.split(self.batch_size):
            images, labels = zip(*(self.pictures[number] for number in index.tolist()), strict=True)
            yield torch.stack(images), torch.tensor(labels)


@pytest.mark.slow
def test_in_the_same_order_both_ways_train_the_same_student(splits, monkeypatch):
    monkeypatch.setattr(bench, "DataLoader", InOurOrder)
    usual, ours = _UsualWay(splits, CONFIG), _OurWay(splits, CONFIG)
    usual._teacher = ours.train("teacher", None)
    trained = {
        part: [way.train(part, temperature) for way in (usual, ours)]
        for part, temperature in (("alone", None), ("T = 4", 4.0))
    }
    for usual_value, our_value in zip(*(network.state_dict().values() for network in trained["alone"]), strict=True):
        torch.testing.assert_close(usual_value, our_value, rtol=1e-3, atol=1e-5)
    # The teacher's answers differ in the last digits, and Adam steps by 1e-3 with the sign of the smallest gradient.
    (usual_said, said), (_, alone) = (
        [predict_logits(network, splits["test"], MNIST_INPUT.normalise, device="cpu") for network in trained[part]]
        for part in ("T = 4", "alone")
    )
    assert (said - usual_said).abs().max() < 0.02 * (said - alone).abs().max()


@pytest.mark.slow
def test_both_teachers_learn_alike(splits):
    usual, ours = _UsualWay(splits, CONFIG), _OurWay(splits, CONFIG)
    accuracies = [accuracy(way.train("teacher", None), splits["test"]) for way in (usual, ours)]
    assert min(accuracies) > 0.6  # chance is 0.1
    # Another order and other dropout: five standard errors of a difference at 80 % of 400.
    assert abs(accuracies[0] - accuracies[1]) < 5 * (2 * 0.8 * 0.2 / 400) ** 0.5


def test_both_ways_begin_with_the_same_weights_and_end_in_evaluation_mode(splits):
    first, second = (_fresh("teacher", CONFIG).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], value) for name, value in second.items())
    trained = [way(splits, CONFIG).train("alone", None) for way in (_UsualWay, _OurWay)]
    assert not any(network.training for network in trained)
    assert not torch.equal(trained[0][1].weight.cpu(), _fresh("alone", CONFIG)[1].weight)


def test_the_usual_loss_is_ours(splits):
    usual = _UsualWay(splits, CONFIG)
    student = _fresh("T = 4", CONFIG)
    images, labels = MNIST_INPUT.normalise(splits["train"].images[:32]), splits["train"].labels[:32]
    torch.testing.assert_close(usual._loss(student, images, labels, 4.0), F.cross_entropy(student(images), labels))
    usual._teacher = _fresh("teacher", CONFIG).eval()  # until one is there, the labels are all there is
    expected = distillation_loss(student(images), usual._teacher(images), labels, temperature=4.0, alpha=0.5)
    torch.testing.assert_close(usual._loss(student, images, labels, 4.0), expected)
    torch.testing.assert_close(usual._loss(student, images, labels, None), F.cross_entropy(student(images), labels))


def test_pictures_are_what_kdviz_sees(splits):
    picture, label = bench._Pictures(splits["train"])[5]
    assert label == int(splits["train"].labels[5])
    torch.testing.assert_close(picture, MNIST_INPUT.normalise(splits["train"].images[5:6])[0])


def test_quick_is_a_part_of_the_bundled_digits_and_disjoint():
    parts = _few_digits()
    assert {name: len(samples) for name, samples in parts.items()} == {"train": 4000, "validation": 500, "test": 500}
    names = [name for samples in parts.values() for name in samples.names]
    assert len(set(names)) == 5000


@pytest.mark.slow
def test_rows(splits, monkeypatch):
    trained = []

    def record(way):
        def train(self, part, temperature):
            trained.append((way.__name__, part, temperature))
            return original(self, part, temperature)

        original = way.train
        monkeypatch.setattr(way, "train", train)

    record(_UsualWay)
    record(_OurWay)
    monkeypatch.setattr(bench, "_few_digits", lambda: splits)
    rows = {row.key: row for row in bench_train("cpu", quick=True, epochs=1)}
    parts = [
        ("teacher", None),
        ("alone", None),
        *((f"T = {temperature:g}", temperature) for temperature in TEMPERATURES),
    ]
    assert trained == [(way, *part) for part in parts for way in ("_UsualWay", "_OurWay")]
    assert list(rows) == [
        "speed_ratio",
        *("speed_teacher", "speed_alone", "speed_t1", "speed_t4", "speed_t16", "speed_t64"),
        *("step_input_gradient", "step_rise_maps"),  # the losses that the fully connected student can have
        *("step_learned_temperature", "step_mutual"),
        *("accuracy_difference_teacher", "accuracy_difference_students"),
    ]
    for name in (key for key in rows if key.startswith("step_")):
        details = rows[name].details
        assert rows[name].value == pytest.approx(details["seconds"] / details["soft_targets_seconds"])
    whole = rows["speed_ratio"]
    assert whole.details["epochs"] == 1
    assert whole.details["train_samples"] == 500
    assert whole.value == pytest.approx(whole.details["usual_seconds"] / whole.details["kdviz_seconds"])
    own = [
        row.details["kdviz_seconds"] for key, row in rows.items() if key.startswith("speed_") and key != "speed_ratio"
    ]
    assert sum(own) == pytest.approx(whole.details["kdviz_seconds"])
    for name in ("teacher", "students"):
        row = rows[f"accuracy_difference_{name}"]
        assert row.unit == "points"
        assert row.value == pytest.approx(100 * (row.details["kdviz"] - row.details["usual"]))


def test_figures_are_said_as_they_come_beside_the_document(monkeypatch, capsys):
    def stopped(*_):
        yield Measurement("first", "what came first", 1.5, "x", {"masks": 8})
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "kdviz.bench.bench_rise", lambda *_: [Measurement("first", "what came first", 1.5, "x", {"masks": 8})]
    )
    assert main(["bench", "rise", "--quick", "--device", "cpu", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["first"] == 1.5
    assert printed.err.strip() == "1.500 x  what came first"
    monkeypatch.setattr("kdviz.bench.bench_rise", stopped)
    assert main(["bench", "rise", "--quick", "--device", "cpu", "--json"]) == 130
    assert capsys.readouterr().err.splitlines()[0].strip() == "1.500 x  what came first"
