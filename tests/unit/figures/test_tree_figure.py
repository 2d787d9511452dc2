"""The figures of a study of trees: accuracy against depth in both forms, and weights as a picture."""

from __future__ import annotations

import numpy as np
import pytest

from kdviz import figures
from kdviz.core.files import MODELS
from kdviz.experiment import load_experiment
from kdviz.studies.tree import read_tree_report


def test_accuracy_against_depth_draws_the_reports_figures():
    report = read_tree_report(load_experiment(MODELS / "mnist"))
    chart = figures.accuracy_against_depth(report)
    alone, kd, teacher, difference = chart.data
    assert list(kd.y) == pytest.approx([tree.kd.accuracy for tree in report.trees])
    assert list(alone.y) == pytest.approx([tree.alone.accuracy for tree in report.trees])
    assert "99.14%" in teacher.name
    assert list(difference.y) == pytest.approx([100 * tree.accuracy.value for tree in report.trees])
    tops = np.array(difference.y) + np.array(difference.error_y.array)
    assert list(tops) == pytest.approx([100 * tree.high for tree in report.trees])  # those that hold together
    assert figures.accuracy_against_depth.file("png", report)[1:4] == b"PNG"


def test_weights_are_orange_above_zero_blue_below_and_transparent_at_zero():
    pixels = np.asarray(figures.weight_picture(np.array([[1.0, -1.0, 0.0, 0.25]]), 1.0))[0]
    orange, blue = (tuple(int(name[i : i + 2], 16) for i in (1, 3, 5)) for name in (figures.POSITIVE, figures.NEGATIVE))
    assert tuple(pixels[0]) == (*orange, 255)
    assert tuple(pixels[1]) == (*blue, 255)
    assert pixels[2][3] == 0
    assert 0 < pixels[3][3] < 255
    # Channels are summed.
    channels = figures.weight_picture(np.array([[[1.0, 0.0]], [[-1.0, 1.0]]]), 1.0)
    assert np.asarray(channels)[0, 0, 3] == 0
