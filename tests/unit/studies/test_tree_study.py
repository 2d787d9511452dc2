"""A study of trees on real digits: its tables, its paths and its report, against second, differently written forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kdviz.core.errors import ExperimentError, SettingError, UnknownNameError
from kdviz.distill import TrainingConfig
from kdviz.experiment import load_experiment
from kdviz.metrics import paired_difference
from kdviz.narrative.tree import tree_sentences
from kdviz.studies.tree import (
    TreeStudy,
    path_of,
    read_tree,
    read_tree_report,
    tree_answers,
    tree_inputs,
    tree_roles,
)
from kdviz.studies.tree.table import NAME, NODES

CONFIG = TrainingConfig(epochs=2, batch_size=32, learning_rate=0.02, temperature=1.0, bf16="off")


@pytest.fixture(scope="module")
def splits(small_digits):
    parts = torch.arange(480).split([200, 80, 150, 50])
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    names = ("train", "validation", "test", "bundled")
    return {name: replace(small_digits.take(order[part]), split=name) for name, part in zip(names, parts, strict=True)}


@pytest.fixture(scope="module")
def studied(_untrained, splits, tmp_path_factory):
    """An experiment with a study of trees of two depths and two seeds."""
    import shutil

    folder = shutil.copytree(_untrained, tmp_path_factory.mktemp("studied") / "tiny")
    stages = list(TreeStudy(load_experiment(folder), splits, (4, 2), (0, 1), CONFIG).run())
    assert next(stage.name for stage in stages if stage.progress is None) == "soft_tree_2, with teacher, seed 0"
    return load_experiment(folder)


def test_there_is_a_row_for_each_model_and_split(studied):
    table = studied.table(NAME).to_pandas()
    trained = table[table["role"].isin(["kd_student", "student"])]
    per_network = trained.groupby(["network", "role", "split"], observed=True).size()
    assert len(per_network) == 3 * 2 * 3  # two trees and the linear classifier
    assert (per_network == 2).all()  # seeds
    assert set(table["role"]) == {"kd_student", "student", "teacher", "label"}


def test_figures_are_those_of_the_predictions(studied, splits):
    for row in studied.table(NAME).to_pylist():
        if row["role"] == "label" or row["split"] == "validation":
            continue
        predicted = np.array(row["predicted"])
        labels = splits[row["split"]].labels.numpy()
        assert row["accuracy"] == pytest.approx((predicted == labels).mean(), abs=1e-6)
        if row["role"] != "teacher":
            teacher = tree_answers(studied, row["split"])["teacher", 0]
            assert row["same_as_teacher"] == pytest.approx((predicted == teacher).mean(), abs=1e-6)


def test_the_kept_trees_are_those_that_were_measured(studied, splits):
    assert tree_roles(studied) == {(role, depth): 0 for role in ("kd_student", "student") for depth in (2, 4)}
    inputs = studied.input.normalise(splits["bundled"].images)
    rows = studied.table(NAME).to_pylist()
    for role, depth in tree_roles(studied):
        tree = read_tree(studied, role, depth)
        said = tree.network(inputs).argmax(1).numpy()
        assert (said == tree_answers(studied, "bundled")[role, depth]).all()
        paths = [path_of(tree.network, one) for one in inputs.split(1)]
        key = (role, depth, 0, "bundled")
        row = next(row for row in rows if (row["role"], row["depth"], row["seed"], row["split"]) == key)
        labels = splits["bundled"].labels.tolist()
        assert row["path_accuracy"] == pytest.approx(
            np.mean([path.leaf_class == label for path, label in zip(paths, labels, strict=True)])
        )
        assert row["path_is_answer"] == pytest.approx(np.mean([path.explains_answer for path in paths]))
        assert row["path_probability"] == pytest.approx(np.mean([path.probability for path in paths]), rel=1e-5)
        assert row["leaves"] == len({path.leaf for path in paths})


def test_a_path_leads_from_the_root_to_its_leaf(studied, splits):
    tree = read_tree(studied, "kd_student", 4)
    for inputs in studied.input.normalise(splits["test"].images[:20]).split(1):
        path = path_of(tree.network, inputs)
        assert path.nodes[0] == 0
        for step, following in zip(path.steps, path.nodes[1:], strict=True):
            assert following == 2 * step.node + (2 if step.right else 1)
        assert path.probability == pytest.approx(np.prod([step.probability for step in path.steps]), rel=1e-5)
        # No other leaf has a greater probability: the sum is 1.
        assert path.probability == pytest.approx(float(tree.network.path_probabilities(inputs).max()))


def test_shares_of_the_test_samples_add_up_and_weight_the_classes_below_a_node(studied, splits):
    tree = read_tree(studied, "student", 4)
    inputs = studied.input.normalise(splits["test"].images)
    leaves = tree.network.path(inputs).numpy()
    assert tree.shares[0] == pytest.approx(1.0)
    assert tree.shares[2] == pytest.approx((leaves >= 8).mean())
    assert tree.shares[15 + leaves[0]] == pytest.approx((leaves == leaves[0]).mean())
    below = tree.network.leaf_probabilities().numpy()[leaves[leaves >= 8]].mean(0)
    np.testing.assert_allclose(tree.mixtures()[2], below, atol=1e-5)


def test_the_report_pairs_seeds_and_samples(studied, splits):
    report, table = read_tree_report(studied), studied.table(NAME).to_pandas()
    labels = splits["test"].labels.numpy()
    test = table[(table["split"] == "test") & (table["depth"] == 4)].sort_values("seed")
    kd, alone = (np.stack(list(test[test["role"] == role]["predicted"])) for role in ("kd_student", "student"))
    comparison = next(tree for tree in report.trees if tree.depth == 4)
    assert comparison.accuracy == paired_difference(alone == labels, kd == labels)
    low, high = comparison.accuracy.interval(0.975)  # two intervals that hold together
    assert (comparison.low, comparison.high) == pytest.approx((low, high))
    assert comparison.kd.accuracy == pytest.approx((kd == labels).mean(), abs=1e-6)
    validation = table[(table["split"] == "validation") & (table["role"] == "kd_student")]
    assert report.best == validation.groupby("depth")["accuracy"].mean().idxmax()


def test_finished_trainings_are_not_repeated(studied, splits):
    study = TreeStudy(load_experiment(studied.folder), splits, (2, 4), (0, 1), CONFIG)
    before = studied.table(NAME)
    assert list(study.run()) == []
    assert studied.table(NAME).equals(before)


def test_trees_on_features_of_a_frozen_model(tiny, splits):
    study = TreeStudy(tiny, splits, (2,), (0,), CONFIG, backbone="student")
    assert len(list(study.run())) > 0
    tree, pixels = read_tree(tiny, "student", 2), tiny.input.normalise(splits["test"].images)
    assert tree.network.decisions.in_features == 196  # the student's last hidden layer
    said = tree.network(tree_inputs(tiny, "student", pixels)).argmax(1)
    assert (said.numpy() == tree_answers(tiny, "test")["student", 2]).all()
    assert not read_tree_report(tiny).on_pixels
    assert "one seed" in tree_sentences(read_tree_report(tiny))[0]


def test_what_cannot_be_studied_is_refused_before_any_training(tiny, splits):
    with pytest.raises(UnknownNameError, match="soft_tree_5"):
        TreeStudy(tiny, splits, (5,))
    with pytest.raises(SettingError, match="at least one"):
        TreeStudy(tiny, splits, ())
    with pytest.raises(SettingError, match="stored answers"):
        TreeStudy(tiny, splits, (2,), config=replace(CONFIG, augment="shift"))
    with pytest.raises(ExperimentError, match="no other"):
        TreeStudy(tiny, splits, (2,), backbone="other")
    assert not (tiny.folder / "runs").exists()


def test_a_damaged_table_is_refused(studied, tmp_path):
    import shutil

    experiment = load_experiment(shutil.copytree(studied.folder, tmp_path / "damaged"))
    experiment.write_table(NAME, experiment.table(NAME).drop_columns(["depth"]))
    experiment.write_table(NODES, experiment.table(NODES)[:5])
    with pytest.raises(ExperimentError, match="damaged"):
        read_tree_report(experiment)
    with pytest.raises(ExperimentError, match="damaged"):
        read_tree(experiment, "kd_student", 2)
