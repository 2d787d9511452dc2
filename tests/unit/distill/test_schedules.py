"""Settings that change from epoch to epoch: what a text means, and which texts mean nothing."""

from __future__ import annotations

import math

import pytest

from kdviz.core.errors import SettingError
from kdviz.distill import TrainingConfig
from kdviz.distill.schedules import schedule


def values(text, epochs) -> list[float]:
    read = schedule("temperature", text)
    return [read.at(epoch, epochs) for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (4, [4, 4, 4, 4, 4]),
        ("2.5", [2.5] * 5),
        ("10:1", [10, 7.75, 5.5, 3.25, 1]),
        ("1:10", [1, 3.25, 5.5, 7.75, 10]),
        ("10:1:cosine", [1 + 9 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(5)]),
        ("1=.9,3=.7,5=.5", [0.9, 0.9, 0.7, 0.7, 0.5]),
        ("1=3", [3] * 5),
        ("1=3,9=1", [3] * 5),
    ],
    ids=str,
)
def test_what_a_text_means(text, expected):
    assert values(text, 5) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("text", ["10:1", "10:1:cosine"])
def test_both_ends_are_reached_and_the_middle_is_half_way(text):
    temperatures = values(text, 21)
    assert (temperatures[0], temperatures[-1]) == (10, 1)
    assert temperatures[10] == pytest.approx(5.5)
    assert temperatures == sorted(temperatures, reverse=True)
    assert values(text, 1) == [10]


def test_the_cosine_is_flat_at_its_ends():
    straight, curved = values("10:1", 21), values("10:1:cosine", 21)
    assert curved[1] - curved[0] > 0.2 * (straight[1] - straight[0])  # falls less than a fifth as fast
    assert curved[11] - curved[10] < straight[11] - straight[10]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hot",
        "10:",
        ":1",
        "10:1:sine",
        "10:1:cosine:2",
        "2=1",
        "1=1,1=2",
        "1=1,5=2,3=4",
        "1=",
        "1.5=2",
        "1=1,",
        "nan",
    ],
)
@pytest.mark.parametrize("setting", ["temperature", "alpha"])
def test_a_text_that_means_nothing(text, setting):
    with pytest.raises(SettingError, match=f"^{setting} must be a number, FROM:TO") as caught:
        TrainingConfig(**{setting: text})
    assert f"got '{text}'" in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": "10:0"}, {"temperature": "-1:4:cosine"}, {"temperature": "1=4,2=inf"}, {"alpha": "0:1.1"}],
    ids=str,
)
def test_every_value_must_be_in_range(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        TrainingConfig(**wrong)
