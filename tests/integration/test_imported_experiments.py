"""Everything works on experiments whose models were trained elsewhere, each with its own input."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imported
import numpy as np
import pytest
import torch

import kdviz
from kdviz import figures
from kdviz.cli import main
from kdviz.cli.common.experiment_pictures import stored_samples
from kdviz.cli.common.models_option import environment_for
from kdviz.compress.onnx_export import float_file
from kdviz.compress.profile import Settings, own_input, own_samples, profile
from kdviz.core.errors import ExperimentError, KdvizError, ModelError
from kdviz.data.doubts import KEY, Doubt
from kdviz.experiment import Experiment, load_experiment
from kdviz.figures.roles import titled, titles_of
from kdviz.narrative.decision import decision
from kdviz.narrative.overview import ExperimentSummary, answers
from kdviz.serving import fingerprint
from kdviz.studies.comparison import inventory
from kdviz.studies.predictions.evaluation import evaluate
from kdviz.studies.predictions.mistake_index import Filters, MistakeIndex
from kdviz.studies.predictions.mistakes import known_groups, members, read_predictions
from kdviz.studies.predictions.showcase import choose

pytestmark = pytest.mark.slow  # each kind of experiment is made first: many seconds

Maker = Callable[..., Experiment]


@pytest.fixture
def made(imported_folders: Callable[..., Path], tmp_path: Path) -> Maker:
    """A fresh copy of a variant of tests/support/imported.py, loaded."""

    def make(name: str, **more: object) -> Experiment:
        folder = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
        return load_experiment(shutil.copytree(imported_folders(name, **more), folder))

    return make


@pytest.fixture
def three(made: Maker) -> Experiment:
    return made("three")


@pytest.fixture
def given(three: Experiment) -> Experiment:
    """The same with a fourth run of which only the predictions are known."""
    return imported.with_predictions(three, "external", "Somebody's model", "kd_student")


# maps -----------------------------------------------------------------------------------------------------------------


def test_maps_of_all_models_are_of_the_common_picture(three: Experiment) -> None:
    maps = kdviz.explain(three, stored_samples(three).picture(0), 2, n_masks=40)
    assert {saliency_map.shape for saliency_map in maps.values()} == {three.input.size}
    assert list(maps) == list(three.runs)
    assert len(kdviz.agreement(maps).pairs) == 3


@pytest.mark.parametrize("method", ["layer_gradcam", "saliency", "integrated_gradients", "occlusion"])
def test_other_methods_go_through_the_models_own_inputs(three: Experiment, method: str) -> None:
    settings = {"occlusion": {"window": 0.5, "stride": 1.0}, "integrated_gradients": {"n_steps": 4}}.get(method, {})
    maps = kdviz.explain(three, stored_samples(three).picture(1), method=method, **settings)
    assert {saliency_map.shape for saliency_map in maps.values()} == {three.input.size}
    assert all(
        np.isfinite(saliency_map.values).all() and saliency_map.values.std() > 0 for saliency_map in maps.values()
    )


def test_a_run_without_a_model_is_left_out_of_the_maps_and_it_is_said(given: Experiment) -> None:
    picture = stored_samples(given).picture(0)
    with pytest.warns(UserWarning, match="Of 'external' only the predictions are known"):
        assert "external" not in kdviz.explain(given, picture, n_masks=40)
    with pytest.raises(ModelError, match="only the predictions are known"):
        kdviz.explain(given, picture, roles=["external"], n_masks=40)


@pytest.mark.parametrize("kind", ["png", "svg", "html", "npz"])
def test_explain_writes_every_kind_of_file_with_titles(
    given: Experiment, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    picture = tmp_path / "picture.png"
    imported.pictures(1)[0][0].save(picture)
    out = tmp_path / f"maps.{kind}"
    command = ["explain", str(picture), "-e", str(given.folder), "--masks", "40", "--precision", "float32"]
    assert main([*command, "--out", str(out)]) == 0
    assert "external is left out: Of 'external' only" in capsys.readouterr().err
    assert out.stat().st_size > 1000
    if kind == "html":
        assert "KD, T = 16" in out.read_text(encoding="utf-8")


# predictions ----------------------------------------------------------------------------------------------------------


def test_the_class_order_is_undone_in_the_predictions(three: Experiment) -> None:
    run, picture = three.runs["kd_student"], stored_samples(three).picture(0)
    inputs = three.preprocess(picture)
    with torch.inference_mode():
        own = run.unadapted(run.model.own_input(inputs))  # type: ignore[union-attr, operator]
        assert torch.equal(run.model(inputs), own[:, list(run.class_order or ())])


def test_evaluating_again_keeps_the_predictions_of_a_run_without_a_model(given: Experiment) -> None:
    before = read_predictions(given.table("predictions"), "test")
    for _ in evaluate(given, stored_samples(given), "cpu"):
        pass
    after = read_predictions(given.table("predictions"), "test")
    assert list(after.predicted) == list(given.runs)
    np.testing.assert_array_equal(after.predicted["external"], before.predicted["external"])
    assert given.runs["external"].metrics["test"]["accuracy"] == pytest.approx(after.right("external").mean(), abs=1e-6)


def test_evaluate_without_data_gives_the_figures_of_the_import_and_changes_nothing(
    made: Maker, capsys: pytest.CaptureFixture
) -> None:
    some = made("pair", stored=20)
    before = (some.folder / "predictions.parquet").read_bytes(), (some.folder / "experiment.json").read_bytes()
    assert main(["evaluate", "-e", str(some.folder), "--json"]) == 0
    said = capsys.readouterr()
    assert "the figures of the import" in said.err
    metrics = json.loads(said.out)["metrics"]
    assert metrics == {role: run.metrics for role, run in some.runs.items()}
    assert metrics["teacher"]["test"]["samples"] == 48
    after = (some.folder / "predictions.parquet").read_bytes(), (some.folder / "experiment.json").read_bytes()
    assert before == after


# without labels -------------------------------------------------------------------------------------------------------


@pytest.fixture
def unlabelled(made: Maker) -> Experiment:
    return made("pair", labelled=False)


def test_without_labels_the_filters_are_disagreements(unlabelled: Experiment) -> None:
    said = read_predictions(unlabelled.table("predictions"), "test")
    assert known_groups(said) == ["differ", "apart", "all"]
    differ = said.predicted["teacher"] != said.predicted["kd_student"]
    np.testing.assert_array_equal(members(said, "differ"), differ)
    assert not members(said, "any_wrong").any()
    index = MistakeIndex(said, {}, 4)
    assert "sure" not in index.orders
    assert index.indices(Filters("differ", "teacher"), "sample").tolist() == np.flatnonzero(differ).tolist()
    assert {story for story, _number in choose(said, np.arange(48))} <= {"differ", "agree"}


def test_without_labels_nothing_is_called_right(unlabelled: Experiment, capsys: pytest.CaptureFixture) -> None:
    summary = ExperimentSummary(unlabelled)
    top = decision(summary, answers(summary))
    assert top.tone == "unknown"
    assert "have no labels" in top.sentence
    assert all(answer.judgement is None for answer in answers(summary))
    assert main(["evaluate", "-e", str(unlabelled.folder)]) == 0
    assert "accuracy" not in load_experiment(unlabelled.folder).runs["teacher"].metrics["test"]
    assert main(["study", "--study", "models", "-e", str(unlabelled.folder)]) == 1
    assert "have none" in capsys.readouterr().err


# verdicts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normalisation", "order", "chance"])
def test_no_verdict_while_a_doubt_stands(three: Experiment, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"accuracy": 0.2, "other": 0.9, "samples": 48, "normalisation": "imagenet"}
    shown |= {"moved": [["blue", "red"]], "classes": 2, "chance": 0.25, "most": 0.3}
    doubt = Doubt(kind, "test", "kd_student", shown)
    monkeypatch.setattr("kdviz.studies.comparison.experiment_summary.recorded_doubts", lambda _experiment: [doubt])
    summary = ExperimentSummary(three)
    said = {answer.name: answer for answer in answers(summary)}
    for name in ("accurate", "helped", "copied"):
        assert said[name].withheld
        assert doubt.text in said[name].sentence
    assert doubt.text in decision(summary, list(said.values())).sentence


def test_a_doubt_about_another_model_withholds_nothing(three: Experiment) -> None:
    shown = {"accuracy": 0.2, "other": 0.9, "samples": 48, "normalisation": "unit"}
    three.runs["student"].training[KEY] = [Doubt("normalisation", "test", "student", shown).to_json()]
    said = {answer.name: answer for answer in answers(ExperimentSummary(three))}
    assert said["helped"].withheld
    assert not said["accurate"].withheld


def test_two_models_of_free_roles_are_set_side_by_side(made: Maker) -> None:
    free = made("free_pair")
    summary = ExperimentSummary(free)
    top = decision(summary, answers(summary))
    assert "KD, T = 16" in top.sentence
    assert "of the same 48 samples" in top.sentence


def test_without_pictures_it_is_said_what_to_do(made: Maker) -> None:
    bare = made("pair", tables=False)
    summary = ExperimentSummary(bare)
    assert "import them again with --data" in decision(summary, answers(summary)).sentence


# cost -----------------------------------------------------------------------------------------------------------------


def test_the_cost_is_that_of_each_network_alone_at_its_own_input(
    given: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = []

    def only_the_smallest(network: torch.nn.Module, example: torch.Tensor) -> bytes:
        """Exporting a large network takes many seconds, and shows nothing else."""
        exported.append(tuple(example.shape[1:]))
        if example.shape[1] == 3:
            raise ModelError("left out")
        return float_file(network, example)

    monkeypatch.setattr("kdviz.compress.profile.float_file", only_the_smallest)
    last = list(profile(given, own_samples(given), Settings(seconds=0.01)))[-1]
    assert last.table is not None
    rows = {(row["role"], row["form"]): row for row in last.table.to_pylist() if row["batch"] == 1}
    assert {role for role, _form in rows} == {"teacher", "kd_student", "student"}
    assert sorted(exported) == [(1, 28, 28), (3, 64, 64), (3, 96, 96)]
    assert {"onnx", "onnx_int8"} <= {form for role, form in rows if role == "student"}
    assert any("Of 'external' only the predictions" in note for note in last.notes)
    for role, run in given.models.items():
        from kdviz.compress.operations import operations_of

        alone = operations_of(run.unadapted, torch.zeros(1, run.spec.channels, *run.spec.size))
        assert rows[role, "torch"]["flops"] == alone.flops
        measured = own_samples(given)
        assert measured is not None
        with torch.no_grad():  # with gradients, pictures are resized in float, not in 8 bits
            answer = run.model(given.input.normalise(measured.measured.images)).argmax(1)
        assert rows[role, "torch"]["accuracy"] == pytest.approx(
            float((answer == measured.measured.labels).float().mean())
        )


def test_calibration_pictures_are_those_of_the_network(three: Experiment) -> None:
    run, samples = three.runs["student"], stored_samples(three)
    inputs = own_input(three, run, samples.images[:3])
    assert inputs.shape == (3, 1, 28, 28)
    back = run.spec.pixels(inputs)
    assert back.min() >= -0.2  # bicubic overshoots
    assert back.max() <= 1.2


# what is not for models that were trained elsewhere -------------------------------------------------------------------


@pytest.mark.parametrize("command", [["sweep", "temperature"], ["study"], ["study", "--study", "alpha"]])
def test_what_trains_models_is_refused_in_one_sentence(
    made: Maker, command: list[str], capsys: pytest.CaptureFixture
) -> None:
    pair = made("pair")
    assert main([*command, "-e", str(pair.folder)]) == 1
    said = capsys.readouterr().err.strip()
    assert "were trained elsewhere" in said
    assert f"kdviz study --study models -e {pair.folder}" in said
    assert "\n" not in said


def test_training_does_not_replace_imported_models(made: Maker, capsys: pytest.CaptureFixture) -> None:
    pair = made("pair")
    assert main(["train", "folder", "--data", ".", "--out", str(pair.folder)]) == 1
    assert "choose another folder" in capsys.readouterr().err


def test_a_study_of_the_given_models_without_a_student_alone(made: Maker, capsys: pytest.CaptureFixture) -> None:
    pair = made("pair")
    command = ["study", "--study", "models", "-e", str(pair.folder), "--images", "8", "--masks", "40"]
    assert main([*command, "--faithfulness", "0", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    # Where a map is constant there is no agreement. The shuffled teacher's map of one of the eight is constant or not
    # as the processor rounds: that picture leaves this control alone.
    rows = load_experiment(pair.folder).table("agreement").to_pylist()
    chosen = {row["sample"] for row in rows}
    assert len(chosen) == 8
    assert not [row for row in rows if row["pair"] == "claim" and math.isnan(row["pearson"])]
    assert document["images"] == 8
    agreement = document["agreement"]
    # Corrected for the noise of 40 masks, an estimate may pass 1; its interval says what can be told.
    assert agreement["low"] <= agreement["value"] <= agreement["high"]
    assert agreement["low"] <= 1


# records --------------------------------------------------------------------------------------------------------------


def test_titles_colours_and_cards(made: Maker) -> None:
    free = made("free_pair")
    with titled(titles_of(free.runs)):
        assert figures.role_title("kd-t16") == "KD, T = 16"
        assert figures.role_colour("kd-t16") != figures.role_colour("dkd")
    card = inventory.cards(free)[0]
    assert card.parameters == sum(parameter.numel() for parameter in free.runs["kd-t16"].unadapted.parameters())
    assert card.spec == imported.SMALL
    assert "import" not in card.training
    assert "import.file" in inventory.table(free).column_names


def test_the_fingerprint_knows_inputs_orders_and_settings(three: Experiment) -> None:
    run = three.runs["kd_student"]
    changes = [{"spec": replace(run.spec, resize=80)}, {"class_order": (0, 1, 2, 3)}, {"settings": {"drop": 1}}]
    fingerprints = {fingerprint(three)}
    fingerprints |= {
        fingerprint(replace(three, runs={**three.runs, run.role: replace(run, **change)})) for change in changes
    }
    assert len(fingerprints) == 4


def test_held_out_is_claimed_only_where_it_is_known(three: Experiment, tiny: Experiment) -> None:
    assert tiny.held_out
    assert not three.held_out
    for run in three.runs.values():
        run.training["import"]["held_out"] = True  # whoever wrote it: nobody knows what such models learned from
    assert not three.held_out


@pytest.mark.parametrize("name", ["thousand", "subset"])
def test_more_classes_than_the_data_show(made: Maker, name: str) -> None:
    experiment = made(name)
    summary = ExperimentSummary(experiment)
    assert {accuracy.role for accuracy in summary.accuracies} == {"teacher", "kd_student"}
    assert max(accuracy.value for accuracy in summary.accuracies) > 0.3
    assert answers(summary)
    assert kdviz.explain(experiment, stored_samples(experiment).picture(0), n_masks=40, precision="float32")


@pytest.mark.parametrize("name", ["three", "pair", "free_pair", "students"])
def test_list_and_report(made: Maker, name: str, capsys: pytest.CaptureFixture) -> None:
    experiment = made(name)
    assert main(["report", "-e", str(experiment.folder)]) == 0
    assert "On 48 test images" in capsys.readouterr().out


# kdviz app --models ---------------------------------------------------------------------------------------------------


def test_models_may_point_at_one_experiment(three: Experiment, capsys: pytest.CaptureFixture) -> None:
    variables = environment_for(three.folder)
    assert variables == {"KDVIZ_MODELS": str(three.folder.parent), "KDVIZ_FIRST": three.name}
    assert "one experiment" in capsys.readouterr().err


def test_models_may_point_at_checkpoints(tmp_path: Path) -> None:
    for name in ("my_teacher.pth", "student_kd.safetensors", "alone.ckpt", "other.onnx"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ExperimentError, match="are 4 checkpoints") as raised:
        environment_for(tmp_path)
    said = str(raised.value)
    assert f"--teacher {tmp_path / 'my_teacher.pth'}" in said
    assert f"--kd-student {tmp_path / 'student_kd.safetensors'}" in said
    assert f"--student {tmp_path / 'alone.ckpt'}" in said
    assert f"--model other={tmp_path / 'other.onnx'}" in said
    with pytest.raises(KdvizError, match="is a checkpoint"):
        environment_for(tmp_path / "alone.ckpt")
    with pytest.raises(KdvizError, match="does not exist"):
        environment_for(tmp_path / "nothing")


def test_an_empty_folder_is_one_to_be_filled(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert environment_for(tmp_path) == {"KDVIZ_MODELS": str(tmp_path.resolve())}
    assert "is empty" in capsys.readouterr().err
