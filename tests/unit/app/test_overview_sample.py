"""What Overview says below a map of its first picture."""

from __future__ import annotations

import numpy as np
import pytest

from kdviz.app.pages.overview.sample import _agreement_text
from kdviz.studies.predictions.showcase import Example


@pytest.mark.parametrize(
    ("agreement", "ceiling", "said"),
    [
        (0.812, 0.97, "Agreement 0.81 of 0.97"),
        (-0.04, 0.004, "Too few masks: mostly noise"),
        (0.14, 0.49, "Too few masks: mostly noise"),
        (np.nan, np.nan, ""),  # the teacher's own
    ],
)
def test_an_agreement_is_said_where_the_maps_are_more_than_noise(agreement, ceiling, said):
    example = Example("kd_student", 0, 0.9, 0, 0.9, np.zeros((2, 2)), agreement, np.nan, np.nan, ceiling, 64)
    assert _agreement_text(example) == said
