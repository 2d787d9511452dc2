"""The values of a study of losses: what people write, and the recipe that comes of it."""

from __future__ import annotations

import pytest

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.distill import TrainingConfig
from kdviz.distill.objectives.registry import explanation_losses, feature_losses, teacher_losses
from kdviz.saliency import methods
from kdviz.studies.sweep.kinds import STUDIES
from kdviz.studies.sweep.loss_values import (
    LossValue,
    check_losses_used,
    default_losses,
    loss_text,
    parse_loss,
    trained_on_maps_of,
)
from kdviz.studies.sweep.tables import _as_now


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dist", LossValue("dist")),
        ("hints", LossValue("soft_targets", "hints")),
        ("100 hints", LossValue("soft_targets", "hints", 100)),
        ("dist+relational", LossValue("dist", "relational")),
        (" dist + 0.5 mmd ", LossValue("dist", "mmd", 0.5)),
        ("1e6 hints", LossValue("soft_targets", "hints", 1e6)),
        ("dist + 1e+20 hints", LossValue("dist", "hints", 1e20)),
        ("0.00001234567 hints", LossValue("soft_targets", "hints", 1.234567e-5)),
        ("0 hints", LossValue("soft_targets", "hints", 0)),
        ("20 rise_maps", LossValue("soft_targets", "rise_maps", 20)),
        ("dist + grad_cam", LossValue("dist", "grad_cam")),
        (".5 hints", LossValue("soft_targets", "hints", 0.5)),
    ],
)
def test_a_value_is_read_and_written_in_one_way(text, value):
    assert parse_loss(text) == value
    assert parse_loss(str(value)) == value


def test_losses_that_are_measured_by_what_they_were_trained_on():
    values = [4.0, None, "dist", "soft_targets + 20 rise_maps", "grad_cam", "soft_targets + gone", "5 input_gradient"]
    assert trained_on_maps_of("rise", values) == ["soft_targets + 20 rise_maps"]
    assert trained_on_maps_of("layer_gradcam", values) == ["grad_cam"]
    assert trained_on_maps_of("occlusion", values) == []


def test_methods_that_losses_train_are_methods():
    assert {method for name in explanation_losses for method in explanation_losses[name].methods} <= set(methods)


@pytest.mark.parametrize("text", ["dits", "hints + dist", "dist + soft_targets", "10 dist"])
def test_a_loss_of_the_wrong_kind_is_unknown(text):
    with pytest.raises(UnknownNameError):
        parse_loss(text)


@pytest.mark.parametrize(
    "text", ["", "dist +", "+ hints", "dist + -1 hints", "dist + hints + mmd", "1e999 hints", "-3 hints", "nan hints"]
)
def test_what_is_no_value_is_refused(text):
    with pytest.raises((SettingError, UnknownNameError)):
        STUDIES["loss"].checked([text])


def test_a_plugins_loss_may_have_any_name_without_spaces(monkeypatch):
    monkeypatch.setitem(teacher_losses._entries, "my-loss.v2", teacher_losses["dist"])
    monkeypatch.setitem(feature_losses._entries, "损失", feature_losses["hints"])
    value = LossValue("my-loss.v2", "损失", 3)
    assert parse_loss(str(value)) == value == parse_loss("my-loss.v2+3 损失")


@pytest.mark.parametrize("text", ["nonsense", "损失", "4"])
def test_a_name_of_no_loss_is_met_with_those_of_both_kinds(text):
    with pytest.raises(UnknownNameError, match=r"Unknown loss .*attention_transfer.*soft_targets"):
        parse_loss(text)


@pytest.mark.parametrize(
    "config",
    [
        TrainingConfig(feature_loss="mmd"),
        TrainingConfig(feature_loss="hints", feature_weight=10),
        TrainingConfig(loss="decoupled", loss_options={"target_weight": 2}),
    ],
)
def test_a_setting_of_a_loss_that_is_in_no_value_is_refused(config):
    with pytest.raises(SettingError, match="name it there"):
        check_losses_used(config, ["dist", "hints", "soft_targets + 2 mmd"])
    used = LossValue(config.loss, config.feature_loss, config.feature_weight)
    check_losses_used(config, ["dist", str(used)])


def test_every_loss_is_a_value_and_every_one_against_a_teacher_is_studied_unasked():
    assert set(default_losses()) == set(teacher_losses) - {"without_forgetting"}  # the softened targets, untold
    assert default_losses()[0] == "soft_targets"
    for name in [*teacher_losses, *feature_losses]:
        assert name in parse_loss(name).applied_to(TrainingConfig()).to_json().values()


def test_a_recipe_keeps_only_the_options_of_losses_that_it_still_has():
    config = TrainingConfig(loss="dist", loss_options={"intra_weight": 2.0}, feature_loss="hints", feature_weight=3.0)
    assert loss_text(config) == "dist + 3 hints"
    changed = LossValue("decoupled").applied_to(config)
    assert changed == TrainingConfig(loss="decoupled")
    assert LossValue("dist", "hints", 3.0).applied_to(config) == config


def test_rows_of_earlier_versions_name_both_losses():
    row = {
        "role": "kd_student",
        "kd_loss": "soft_targets",
        "settings": '{"feature_loss": "hints", "feature_weight": 2.0}',
    }
    assert _as_now(row)["kd_loss"] == "soft_targets + 2 hints"
    assert _as_now({**row, "settings": "{}"})["kd_loss"] == "soft_targets"
    assert _as_now({**row, "kd_loss": None})["kd_loss"] is None
    assert _as_now({**row, "kd_loss": "soft_targets + 3 hints"})["kd_loss"] == "soft_targets + 2 hints"


def test_students_alone_of_earlier_versions_have_no_settings_of_distillation():
    row = {"role": "student", "kd_loss": None, "settings": '{"feature_loss": "hints", "views": 2}'}
    assert _as_now(row)["settings"] == '{"views": 2}'
