"""Jobs for the app's workers: maps of the small experiment, and a pool that computes them."""

from __future__ import annotations

import time

import pytest

from kdviz.saliency import methods
from kdviz.serving import MapsTask, fingerprint, start_pool

WAIT = 600.0
"""Seconds after which what is waited for will not come, on any machine."""
RISE = {"method": "rise", **methods["rise"].complete({"n_masks": 300, "precision": "float32"})}
LONG = {**RISE, "n_masks": 200_000}


@pytest.fixture(scope="module")
def pool():
    made = start_pool()
    yield made
    made.close()


@pytest.fixture
def task(tiny, digits):
    picture = tiny.prepare(digits.picture(3))
    return lambda *rows, roles=tuple(tiny.runs), target="teacher": MapsTask(
        str(tiny.folder), fingerprint(tiny), picture, rows or (RISE,), roles, target
    )


def first_state(job):
    end = time.monotonic() + WAIT
    while not job.latest and not job.ended and time.monotonic() < end:
        time.sleep(0.01)
    return job.latest
