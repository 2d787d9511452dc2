"""Numbers that round to zero have no sign."""

import pytest

from kdviz.app.pages.cost.page import signed_points
from kdviz.narrative.attention.markdown import _signed, _unsigned
from kdviz.narrative.attention.phrases import gain_over_blurred_picture


@pytest.mark.parametrize(("value", "text"), [(-0.0004, ".000"), (-0.0, ".000"), (-0.0006, "−.001"), (0.5, "+.500")])
def test_figures_of_the_report(value, text):
    assert _signed(value) == text
    assert _unsigned(value) == text.lstrip("+").replace("−", "-")


@pytest.mark.parametrize(("value", "text"), [(-0.004, "0.00"), (0.004, "0.00"), (-0.006, "−0.01"), (0.5, "+0.50")])
def test_points_of_accuracy(value, text):
    assert signed_points(value) == text


def test_gains_over_the_blurred_picture():
    row = {"deletion_gain": -0.0001, "deletion_gain_low": -0.0002, "deletion_gain_high": 0.1}
    assert gain_over_blurred_picture(row, "deletion") == "0.000 [0.000, +0.100]"
