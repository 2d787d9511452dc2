"""The large experiment that the pages are measured on."""

from __future__ import annotations

import pytest
import torch

from kdviz.app.library import OpenExperiment
from kdviz.bench.app_data import _shifted, large_experiment
from kdviz.experiment import load_experiment


@pytest.mark.slow
def test_it_is_shown_like_any_other(tmp_path):
    folder = large_experiment(tmp_path / "many", samples=300)
    opened = OpenExperiment(load_experiment(folder))
    samples = opened.samples
    assert samples is not None
    assert samples.split == "test"
    assert len(samples) == 300
    assert samples.predictions is not None
    assert set(samples.predictions.predicted) == {"teacher", "kd_student", "student"}
    assert set(samples.logits) == {"teacher", "kd_student", "student"}
    assert opened.title == "300 digits (many)"
    assert opened.experiment.runs["teacher"].metrics["test"]["accuracy"] > 0.97
    large_experiment(folder, samples=200)  # made anew
    assert len(load_experiment(folder).samples("test")) == 200


def test_copies_are_moved_each_in_another_direction(digits):
    samples = _shifted(12_000)
    assert len(samples) == 15_000
    assert torch.equal(samples.labels[5_000:10_000], digits.labels)
    first, second, third = (samples.images[start] for start in (0, 5_000, 10_000))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert first.sum() == second.sum() == third.sum() == digits.images[0].sum()
