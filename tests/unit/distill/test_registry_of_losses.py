"""A loss of a plugin cannot take the name of another one, of whatever kind."""

import subprocess
import sys

import pytest

from kdviz.core.plugins import PluginWarning, _load
from kdviz.distill.objectives import losses as general
from kdviz.distill.objectives.registry import (
    GENERAL,
    feature_losses,
    losses,
    register_explanation_loss,
    register_feature_loss,
    register_teacher_loss,
    teacher_losses,
)


def loss(student, teacher):
    """A loss."""
    return (student - teacher).abs().mean()


class Plugin:
    """An entry point whose module registers a loss."""

    name, value = "mine", "kdviz_mine"

    def __init__(self, decorate):
        self.decorate = decorate

    def load(self):
        self.decorate(loss)


@pytest.mark.parametrize(
    ("decorate", "kind", "name"),
    [
        (register_teacher_loss("hints"), "feature loss", "hints"),
        (register_feature_loss("dist", takes=("maps",)), "distillation loss", "dist"),
        (register_teacher_loss("distillation"), "loss", "distillation"),
        (register_teacher_loss("grad_cam"), "explanation loss", "grad_cam"),
        (register_feature_loss("rise_maps", takes=("maps",)), "explanation loss", "rise_maps"),
        (register_explanation_loss("hints", loss), "feature loss", "hints"),
        (register_feature_loss("cross_entropy", takes=("maps",)), "loss", "cross_entropy"),
    ],
)
def test_a_plugins_loss_with_a_taken_name_is_left_out_with_one_sentence(decorate, kind, name):
    before = [set(teacher_losses), set(feature_losses)]
    with pytest.warns(PluginWarning, match=f"'mine' .*left out: {kind} '{name}' is already registered; losses") as said:
        _load(Plugin(decorate))
    assert len(said) == 1
    assert [set(teacher_losses), set(feature_losses)] == before
    teacher_losses.import_built_in()
    feature_losses.import_built_in()


def test_the_general_losses_are_those_that_are_of_neither_kind():
    made_there = {name for name in losses if losses[name].__module__ == general.__name__}
    assert set(GENERAL) == made_there


FIRST = """
from kdviz.distill import register_teacher_loss

for name in ("hints", "distillation"):
    try:
        register_teacher_loss(name)(lambda student, teacher: 0)
    except ValueError as error:
        print(error)
import kdviz.distill.objectives.losses
from kdviz.distill.objectives.registry import feature_losses
feature_losses["hints"]
"""


@pytest.mark.slow
def test_a_name_is_refused_before_its_built_in_loss_is_imported():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.partition(";")[0] for line in done.stdout.splitlines()] == [
        "feature loss 'hints' is already registered",
        "loss 'distillation' is already registered",
    ]
