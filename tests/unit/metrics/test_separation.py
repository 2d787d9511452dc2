"""The AUROC, picture by picture."""

from __future__ import annotations

import numpy as np
import pytest

from kdviz.core.errors import SettingError
from kdviz.metrics.separation import auroc_parts


def test_the_mean_is_the_share_of_pairs_in_order():
    generator = np.random.default_rng(0)
    for ties in (None, 1):
        positive, negative = generator.normal(0.5, 1, 40), generator.normal(0, 1, 40)
        if ties:
            positive, negative = positive.round(ties - 1), negative.round(ties - 1)
        difference = positive[:, None] - negative
        expected = (difference > 0).mean() + (difference == 0).mean() / 2
        assert auroc_parts(positive, negative).mean() == pytest.approx(expected)


def test_extremes():
    assert auroc_parts(np.array([3.0, 4.0]), np.array([1.0, 2.0])).tolist() == [1, 1]
    assert auroc_parts(np.array([1.0, 1.0]), np.array([1.0, 1.0])).tolist() == [0.5, 0.5]
    assert auroc_parts(np.array([1.0]), np.array([2.0])).mean() == 0


def test_the_spread_is_that_of_the_auroc_over_samples_of_pictures():
    generator = np.random.default_rng(1)
    values, errors = [], []
    for _ in range(300):
        common = generator.normal(0, 1, 50)
        parts = auroc_parts(common + generator.normal(0.8, 1, 50), common + generator.normal(0, 1, 50))
        values.append(parts.mean())
        errors.append(parts.std(ddof=1) / 50**0.5)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.1)


def test_what_is_no_pair_is_refused():
    with pytest.raises(SettingError, match="same pictures"):
        auroc_parts(np.ones(2), np.ones(3))
    with pytest.raises(SettingError, match="same pictures"):
        auroc_parts(np.ones(0), np.ones(0))
    with pytest.raises(SettingError, match="must be numbers"):
        auroc_parts(np.array([np.nan]), np.ones(1))
