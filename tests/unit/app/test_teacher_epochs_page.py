"""The page Teacher epochs: it says so where the teachers are the student alone, stopped early; no browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdviz.core.files import MODELS

SENTENCE = (
    "Teacher and student have one and the same network here: with the same settings, a student's teacher is "
    "the student alone of the same seed, stopped early."
)


def _draw(folder: str) -> None:
    from unittest.mock import patch

    from kdviz.app.library import OpenExperiment
    from kdviz.app.pages.studies import teacher_epochs
    from kdviz.experiment import load_experiment

    with patch.object(teacher_epochs, "heading", lambda _page: OpenExperiment(load_experiment(folder))):
        teacher_epochs.page()


def texts_of(folder: Path) -> str:
    testing = pytest.importorskip("streamlit.testing.v1")
    page = testing.AppTest.from_function(_draw, args=(str(folder),)).run(timeout=120)
    assert not page.exception
    return " ".join(element.value for element in page.markdown)


def test_it_says_that_a_teacher_of_the_students_network_is_the_student_stopped_early(tiny):
    assert SENTENCE not in texts_of(tiny.folder)  # a network of its own
    file = tiny.folder / "experiment.json"
    document = json.loads(file.read_text())
    student = next(run for run in document["runs"] if run["role"] == "student")
    for run in document["runs"]:
        run |= {name: student[name] for name in ("network", "weights", "sha256")}
    file.write_text(json.dumps(document))
    assert SENTENCE in texts_of(tiny.folder)


def test_the_documentation_says_it_where_the_study_is_explained():
    page = " ".join((Path(MODELS).parent / "docs" / "how-to" / "studies.md").read_text(encoding="utf-8").split())
    assert "a student's teacher is the student alone, stopped early" in page
