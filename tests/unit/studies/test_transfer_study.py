"""The study of what distillation transferred: its layers, its nulls, and its table against other computations."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from kdviz.cli import main
from kdviz.core.errors import DatasetError, ExperimentError, ModelError
from kdviz.experiment import load_experiment
from kdviz.metrics.feature_similarity import linear_cka
from kdviz.models.networks import build_network
from kdviz.narrative.transfer import left_out_sentences
from kdviz.studies.predictions.evaluation import evaluate
from kdviz.studies.predictions.mistakes import COLUMNS, read_predictions
from kdviz.studies.transfer import TransferStudy, read_transfer_report
from kdviz.studies.transfer.confusions import ALL, confusion_rows, inherited_rows
from kdviz.studies.transfer.features import MOST_LAYERS, MOST_VALUES, Layer, compared_layers, features_of, reduced
from kdviz.studies.transfer.layers import counterparts
from kdviz.studies.transfer.report import CLOSER, FURTHER, MARGIN, NOT_CLOSER, UNKNOWN, Estimate

COMMAND = ["--study", "transfer", "--device", "cpu", "--threads", "1"]
CPU = torch.device("cpu")


# layers ---------------------------------------------------------------------------------------------------------------


def test_layers_are_what_each_weight_layer_takes_and_the_logits():
    network = build_network("paper_cnn", classes=10, channels=1, size=(14, 14)).eval()
    names = [layer.name for layer in compared_layers(network, torch.rand(2, 1, 14, 14))]
    assert names == ["features.4:input", "classifier.2:input", "classifier.5:input", "classifier.5"]
    network = build_network("paper_fc", classes=10, channels=1, size=(14, 14)).eval()
    layers = compared_layers(network, torch.rand(2, 1, 14, 14))
    assert [layer.name for layer in layers] == ["3:input", "5:input", "5"]
    assert [layer.is_logits for layer in layers] == [False, False, True]
    assert [layer.depth for layer in layers] == [1, 2, 3]


def test_of_a_deep_network_some_layers_are_compared_the_last_among_them():
    network = nn.Sequential(nn.Flatten(), *(nn.Linear(16, 16) for _ in range(30)), nn.Linear(16, 3)).eval()
    layers = compared_layers(network, torch.rand(2, 1, 4, 4))
    assert len(layers) == MOST_LAYERS + 1
    assert [layer.name for layer in layers[-2:]] == ["31:input", "31"]
    assert layers[0].name == "2:input"


def test_a_single_layer_has_logits_alone_and_a_function_no_layers():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    assert [layer.name for layer in compared_layers(network, torch.rand(2, 1, 4, 4))] == ["1"]
    with pytest.raises(ModelError, match="no linear layer"):
        compared_layers(nn.Sequential(nn.Flatten()).eval(), torch.rand(2, 1, 4, 4))


def test_features_are_those_of_a_pass_in_order():
    network = build_network("paper_fc", classes=10, channels=1, size=(14, 14)).eval()
    images = torch.randint(0, 256, (450, 1, 14, 14), dtype=torch.uint8)
    layers = compared_layers(network, torch.rand(2, 1, 14, 14))
    features = features_of(network, images, lambda pixels: pixels / 255, layers, CPU)
    with torch.no_grad():
        hidden = nn.Sequential(*list(network)[:5])(images / 255)
        assert torch.allclose(features[1].values, hidden, atol=1e-5)
        assert torch.allclose(features[2].values, network(images / 255), atol=1e-5)
    assert [each.averaged for each in features] == [False, False, False]


def test_large_maps_are_averaged_to_fewer_positions_and_vectors_are_not():
    maps = torch.rand(3, 64, 16, 16)
    assert reduced(maps).shape == (3, 64 * 8 * 8)
    expected = maps.unflatten(2, (8, 2)).unflatten(4, (8, 2)).mean((3, 5)).flatten(1)
    assert torch.allclose(reduced(maps), expected, atol=1e-6)
    assert torch.equal(reduced(maps[:, :4]), maps[:, :4].flatten(1))
    assert reduced(torch.rand(3, 50, 200)).shape == (3, 200)  # tokens
    assert reduced(torch.rand(3, MOST_VALUES + 5)).shape == (3, MOST_VALUES + 5)


@pytest.mark.parametrize(
    ("count", "teacher_count", "expected"),
    [
        (4, 4, {1: 1, 2: 2, 3: 3, 4: 4}),
        (3, 4, {1: 1, 2: 3, 3: 4}),
        (2, 5, {1: 4, 2: 5}),  # one layer before the logits: the teacher's last
        (6, 3, {1: 1, 2: 1, 3: 2, 4: 2, 5: 2, 6: 3}),
        (1, 3, {1: 3}),
        (3, 1, {3: 1}),
    ],
)
def test_counterparts_are_at_the_same_share_of_the_depth(count, teacher_count, expected):
    layers, teacher_layers = (
        [Layer(str(depth), depth, depth == number) for depth in range(1, number + 1)]
        for number in (count, teacher_count)
    )
    depths = counterparts(layers, teacher_layers)
    assert depths == expected


# the whole study ------------------------------------------------------------------------------------------------------


@pytest.fixture
def samples(small_digits):
    """300 digits of 14 x 14, as a test split."""
    return small_digits.take(torch.arange(300), "test")


@pytest.fixture
def studied(tiny, samples, capsys):
    """An experiment of untrained models, with its pictures, their predictions and the study of 60 of them."""
    tiny.write_samples([samples])
    list(evaluate(tiny, samples, device="cpu"))
    assert main(["study", "-e", str(tiny.folder), *COMMAND, "--images", "60", "--json"]) == 0
    return tiny.folder, json.loads(capsys.readouterr().out)


def test_the_command_writes_the_table_and_says_what_came_out(studied):
    folder, document = studied
    report = read_transfer_report(load_experiment(folder))
    assert report.roles == ["kd_student", "student", "untrained"]
    assert report.about["pictures"] == 60
    assert len(report.counterparts("kd_student")) == report.depths("kd_student")
    assert {entry.cka.count for entry in report.layers} == {60}
    assert len(report.to_json()["layers"]) == len(document["layers"])
    assert document["sentences"][-1].startswith("Intervals are over pictures")


def test_a_cka_in_the_table_is_that_of_the_features(studied, samples):
    experiment = load_experiment(studied[0])
    order = np.sort(np.random.default_rng([0, 4]).permutation(len(samples))[:60])
    inputs = experiment.input.normalise(samples.images[order])
    with torch.no_grad():
        logits = [experiment.runs[role].model(inputs) for role in ("teacher", "student")]
    entry = read_transfer_report(experiment).counterparts("student")[-1]
    assert entry.cka.value == pytest.approx(linear_cka(*logits), abs=1e-5)
    assert entry.layer == "5"


def test_a_difference_is_that_of_the_two_students_and_the_last_layer_stands_alone(studied):
    report = read_transfer_report(load_experiment(studied[0]))
    values = {(entry.role, entry.depth, entry.teacher_depth): entry.cka for entry in report.layers if not entry.less}
    differences = [entry for entry in report.layers if entry.less]
    assert len(differences) == report.depths("student") * report.teacher_depths
    for entry in differences:
        own, alone = (values[role, entry.depth, entry.teacher_depth] for role in ("kd_student", "student"))
        assert entry.cka.value == pytest.approx(own.value - alone.value)
        assert entry.cka.low <= entry.cka.inner_low < entry.cka.value < entry.cka.inner_high <= entry.cka.high
    together = [entry.cka.together for entry in report.counterparts("kd_student", "student")]
    assert together == [2, 1, 2]  # layer 1 and the logits hold together
    assert report.last("kd_student", "student").layer == "5:input"


def test_the_pictures_of_a_folder_are_read_where_its_training_pictures_are_not(tiny, samples, tmp_path):
    document = json.loads((tiny.folder / "experiment.json").read_text())
    (tiny.folder / "experiment.json").write_text(json.dumps(document | {"dataset": "folder"}))
    for index in range(120):
        path = tmp_path / "data" / "test" / str(int(samples.labels[index])) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples.picture(index).save(path)
    command = ["study", "-e", str(tiny.folder), *COMMAND, "--data", str(tmp_path / "data"), "--images", "50"]
    assert main(command) == 0
    report = read_transfer_report(load_experiment(tiny.folder))
    assert (report.about["pictures"], report.about["split"]) == (50, "test")


def same_models(folder, role, other):
    """Give a model the weights and the network of another one."""
    document = json.loads((folder / "experiment.json").read_text())
    runs = {run["role"]: run for run in document["runs"]}
    for name in ("network", "sha256"):
        runs[role][name] = runs[other][name]
    runs[role]["weights"] = runs[other]["weights"]
    (folder / "experiment.json").write_text(json.dumps(document))


def test_two_identical_students_differ_by_nothing_and_a_copy_of_the_teacher_has_a_cka_of_1(tiny_folder, samples):
    same_models(tiny_folder, "student", "kd_student")
    list(TransferStudy(load_experiment(tiny_folder), samples).run())
    report = read_transfer_report(load_experiment(tiny_folder))
    differences = report.counterparts("kd_student", "student")
    assert differences
    for entry in differences:
        assert (entry.cka.value, entry.cka.low, entry.cka.high) == (0, 0, 0)
        assert entry.cka.verdict() == NOT_CLOSER
    same_models(tiny_folder, "kd_student", "teacher")
    list(TransferStudy(load_experiment(tiny_folder), samples).run())
    report = read_transfer_report(load_experiment(tiny_folder))
    assert [entry.cka.value for entry in report.counterparts("kd_student")] == pytest.approx(
        [1] * report.depths("kd_student")
    )
    assert report.counterparts("kd_student", "student") == []  # they have other layers by now


def test_pictures_paired_at_random_have_about_0(studied):
    report = read_transfer_report(load_experiment(studied[0]))
    for entry in report.layers:
        if entry.counterpart and not entry.less:
            assert abs(entry.shuffled) < 0.1
            assert entry.shuffled_high < entry.cka.value
            assert entry.within < entry.cka.value


def test_what_cannot_be_studied_is_one_sentence(tiny, samples):
    with pytest.raises(DatasetError, match="takes 5 to 5000 pictures"):
        TransferStudy(tiny, samples.take(torch.arange(3)))
    tiny.runs.pop("teacher")
    with pytest.raises(ExperimentError, match="no teacher"):
        TransferStudy(tiny, samples)


def test_a_model_without_layers_is_left_out_with_the_reason(tiny, samples):
    network = tiny.runs["student"].model
    added = tiny.with_model("function", lambda inputs: network(inputs))
    study = TransferStudy(added, samples.take(torch.arange(30)))
    list(study.run())
    assert list(study.left_out) == ["function"]
    report = read_transfer_report(tiny)
    assert "function" not in report.roles
    assert "function" in left_out_sentences(report)[0]
    assert report.confusions == report.inherited == ()  # no predictions are stored


def test_a_damaged_table_is_refused(studied, tmp_path):
    folder = shutil.copytree(studied[0], tmp_path / "damaged")
    experiment = load_experiment(folder)
    experiment.write_table("transfer", experiment.table("transfer").drop_columns(["low"]))
    with pytest.raises(ExperimentError, match="make it anew with: kdviz study --study transfer"):
        read_transfer_report(experiment)
    (folder / "transfer.parquet").unlink()
    assert read_transfer_report(experiment) is None


# answers --------------------------------------------------------------------------------------------------------------


def test_inherited_errors_are_counted_class_by_class():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    predicted = {
        "teacher": np.array([1, 2, 0, 1, 0, 0, 1, 2]),  # wrong: 0, 1, 4, 5, 6
        "kd_student": np.array([1, 2, 0, 0, 0, 1, 1, 2]),  # repeats 0, 1, 4, 6
        "student": np.array([0, 2, 0, 1, 1, 1, 0, 2]),  # repeats 1
    }
    rows = inherited_rows(predicted, labels)
    shares = {(row["role"], row["less"], row["label"]): row for row in rows}
    assert shares["kd_student", "", ALL]["value"] == pytest.approx(4 / 5)
    assert shares["student", "", ALL]["value"] == pytest.approx(1 / 5)
    assert shares["kd_student", "student", ALL]["value"] == pytest.approx(3 / 5)
    assert [shares["kd_student", "", label]["value"] for label in range(3)] == pytest.approx([1, 1, 1 / 2])
    assert [shares["kd_student", "student", label]["count"] for label in range(3)] == [2, 1, 2]
    assert shares["kd_student", "student", ALL]["together"] == 1
    assert shares["kd_student", "student", 0]["together"] == 3
    for row in rows:
        if row["less"]:
            assert row["low"] <= row["inner_low"] <= row["value"] <= row["inner_high"] <= row["high"]


def test_confusions_need_three_classes_and_a_copy_of_the_teacher_has_1():
    generator = np.random.default_rng(0)
    labels = generator.integers(4, size=300)
    logits = {role: generator.normal(size=(300, 4)) for role in ("teacher", "student")}
    logits["kd_student"] = logits["teacher"] + 5  # the same probabilities
    rows = confusion_rows(logits, labels, [1.0, 4.0])
    copies = [row for row in rows if row["role"] == "kd_student" and not row["less"]]
    assert [row["value"] for row in copies] == pytest.approx([1, 1])
    assert [row["temperature"] for row in copies] == [1, 4]
    for row in (row for row in rows if row["less"]):
        own, alone = (
            next(
                other["value"]
                for other in rows
                if (other["role"], other["less"], other["temperature"]) == (role, "", row["temperature"])
            )
            for role in ("kd_student", "student")
        )
        assert row["value"] == pytest.approx(own - alone)
    two = {role: values[:, :2] for role, values in logits.items()}
    assert confusion_rows(two, labels % 2, [1.0]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_tables_of_the_shipped_models_are_of_their_predictions(name):
    from kdviz.core.files import MODELS

    experiment = load_experiment(MODELS / name)
    report = read_transfer_report(experiment)
    predictions = read_predictions(experiment.table("predictions", COLUMNS), report.about["predictions"])
    errors = predictions.predicted["teacher"] != predictions.labels
    repeated = predictions.predicted["kd_student"][errors] == predictions.predicted["teacher"][errors]
    assert report.inheritance("kd_student")[0].share.value == pytest.approx(repeated.mean())
    assert report.inheritance("kd_student")[0].share.count == errors.sum()
    assert report.last("kd_student", "student") is not None
    assert report.last("untrained").cka.high < report.last("student").cka.low  # random weights, the null
    assert report.last("kd_student").within < report.last("kd_student").cka.low
    assert report.temperatures == [1.0, 4.0]


# verdicts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "outer", "inner", "expected", "level"),
    [
        (0.1, (0.05, 0.15), (0.06, 0.14), CLOSER, 0.95),
        (0.03, (0.001, 0.06), (0.006, 0.054), CLOSER, 0.95),
        (0.01, (0.005, 0.015), (0.006, 0.014), NOT_CLOSER, 0.95),  # above zero, and too little to count
        (0.0, (-0.022, 0.022), (-0.019, 0.019), NOT_CLOSER, 0.9),
        (-0.03, (-0.065, 0.005), (-0.06, 0.0), NOT_CLOSER, 0.95),
        (-0.1, (-0.15, -0.05), (-0.14, -0.06), FURTHER, 0.95),
        (0.03, (-0.01, 0.07), (0.0, 0.06), UNKNOWN, 0.95),
        (0.0, (-0.1, 0.1), (-0.09, 0.09), UNKNOWN, 0.95),
        (0.0, (float("nan"),) * 2, (float("nan"),) * 2, UNKNOWN, 0.95),
    ],
)
def test_an_interval_allows_one_verdict(value, outer, inner, expected, level):
    estimate = Estimate(value, *outer, *inner, 1, 100)
    assert estimate.verdict(MARGIN) == expected
    assert estimate.shown(MARGIN)[0] == level
