"""The registry of methods: one declaration from which everything else follows."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from kdviz.core.errors import SettingError
from kdviz.explanation.captum.attribution import attribute, incompatibility
from kdviz.explanation.method import Choices, Method, Setting
from kdviz.explanation.methods import methods
from kdviz.saliency import explain, register_method, samplers


@pytest.fixture
def first_channel():
    """A method from one declaration, as a plugin has it."""
    method = Method(
        "first_channel",
        "First channel",
        True,
        (Setting("factor", 2.0, "Factor.", 0, 10, title="Factor"),),
        advice="Never.",
        compute=lambda task: task.inputs[0, 0] * task.settings["factor"],
        incompatibility=lambda model: "needs a convolution." if "FC" in type(model).__name__ else None,
    )
    yield register_method(method)
    del methods._entries["first_channel"]


def test_a_method_from_one_declaration(tiny, digit_file, first_channel):
    with pytest.warns(UserWarning, match="First channel needs a convolution"):
        maps = explain(tiny, digit_file, 3, "first_channel", factor=3.0)
    assert list(maps) == ["teacher"]
    picture = tiny.preprocess(tiny.prepare(digit_file))[0, 0].numpy()
    np.testing.assert_array_equal(maps["teacher"].values, 3 * picture)
    model = tiny.runs["student"].model
    assert incompatibility("first_channel", model) == "First channel needs a convolution."
    with pytest.raises(SettingError, match="factor must be"):
        first_channel.complete({"factor": 11.0})


def test_a_second_method_of_a_name_is_refused(first_channel):
    with pytest.raises(ValueError, match="already registered"):
        register_method(first_channel)


def test_every_method_declares_what_people_are_told():
    for name in methods:
        method = methods[name]
        assert method.name == name
        assert method.title
        assert method.needs
        assert method.advice
        assert (method.compute is None) == (name == "rise")
        assert all(setting.help for setting in method.settings)


def test_rise_is_not_computed_one_picture_at_a_time(tiny):
    picture = torch.zeros(1, 1, 28, 28)
    with pytest.raises(SettingError, match="RISE is no method of one picture"):
        attribute("rise", tiny.runs["teacher"].model, picture, picture, 0, {})


def test_choices_follow_the_registry():
    choices = Choices("kdviz.rise.masks", "samplers", first=("auto",))
    assert list(choices) == ["auto", *samplers]
    assert choices[0] == "auto"
    assert choices[1:] == tuple(samplers)
    assert "sobol" in choices


def test_methods_are_listed_without_torch():
    program = (
        "import sys; from kdviz.explanation.methods import methods; assert len(methods) >= 9; "
        "assert not {'torch', 'captum'} & set(sys.modules), 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
