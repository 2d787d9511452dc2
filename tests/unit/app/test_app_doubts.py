"""The page Models shows what looks wrong; without a browser."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdviz.data.doubts import KEY, Doubt
from kdviz.studies.predictions.evaluation import predictions_table

pytest.importorskip("streamlit.testing.v1")
from streamlit.testing.v1 import AppTest


def _page(folder):
    from kdviz.app.library import OpenExperiment
    from kdviz.app.pages.models.page import _show_doubts
    from kdviz.experiment import load_experiment

    _show_doubts(OpenExperiment(load_experiment(folder)))


def warnings_on_page(experiment) -> list[str]:
    experiment.save()
    page = AppTest.from_function(_page, args=(str(experiment.folder),)).run(timeout=600)
    assert not page.exception
    return [warning.value for warning in page.warning]


def test_nothing_is_shown_where_nothing_is_known(tiny):
    assert warnings_on_page(tiny) == []


def test_what_is_kept_and_what_the_predictions_show(tiny):
    labels = torch.arange(200) % 10
    right = torch.nn.functional.one_hot(labels, 10).float()
    table = predictions_table("test", labels, {"teacher": right.roll(1, 1), "kd_student": right})
    tiny.write_table("predictions", table)
    name = "a*b_c<script>.png"
    overlap = {"other": "train", "count": 3, "samples": 200, "examples": [[name, "x.png"]]}
    tiny.runs["student"].training[KEY] = [Doubt("overlap", "test", figures=overlap).to_json(), "rubbish"]
    (warning,) = warnings_on_page(tiny)
    first, second = warning.split("\n")
    assert first.startswith(r"- 3 of 200 images \(1\.5%\) of the test split are also in the training split")
    assert r"a\*b\_c\<script\>\.png" in first
    assert second.startswith(
        r"- The teacher is right on 0\.0% of 200 images of the test split, and would be on 100\.0%"
    )


def test_a_table_that_does_not_fit_says_nothing(tiny):
    labels = torch.arange(200) % 10
    wrong = predictions_table("test", labels, {"teacher": torch.randn(200, 10), "student": torch.randn(200, 10)})
    columns = wrong.drop_columns(["predicted"]).append_column("predicted", [np.full(400, 77, np.int16)])
    tiny.write_table("predictions", columns)
    assert warnings_on_page(tiny) == []
