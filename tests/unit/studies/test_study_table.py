"""A study's table knows the models that it is about."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from kdviz.core.errors import ExperimentError
from kdviz.core.vocabulary import Role
from kdviz.experiment import load_experiment
from kdviz.studies.loss_shifts.table import TABLE as LOSS_SHIFTS
from kdviz.studies.shifts.table import TABLE as SHIFTS
from kdviz.studies.tables import StudyTable, notes_of
from kdviz.studies.transfer.table import TABLE as TRANSFER
from kdviz.studies.tree.table import TABLE as TREE

MODELS = Path(__file__).resolve().parents[3] / "models"
OF_TEACHER = StudyTable("some_study", pa.schema([("value", pa.float64())]), (Role.TEACHER,))
OF_ALL = StudyTable("some_study", OF_TEACHER.schema, (Role.TEACHER, Role.KD_STUDENT, Role.STUDENT))


@pytest.mark.parametrize("table", [SHIFTS, TRANSFER, TREE, LOSS_SHIFTS])
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_tables_that_ship_say_whose_they_are(name, table):
    experiment = load_experiment(MODELS / name)
    if not experiment.has_table(table.name):
        pytest.skip(f"{name} has no {table.name}.parquet")
    said = notes_of(table.read(experiment), f"kdviz.{table.name}")["weights"]
    assert said == {role: experiment.runs[role].sha256 for role in table.roles}


def test_a_table_of_the_same_weights_is_read_wherever_they_lie(tiny, tmp_path):
    OF_ALL.write(tiny, [{"value": 1.0}], {"pictures": 3})
    moved = load_experiment(shutil.copytree(tiny.folder, tmp_path / "moved"))
    table = OF_ALL.read(moved)
    assert table.to_pylist() == [{"value": 1.0}]
    assert OF_ALL.about(table) == {"pictures": 3}


@pytest.mark.parametrize(("written", "refused"), [(OF_ALL, True), (OF_TEACHER, False)])
def test_a_table_of_another_student_is_refused_where_it_is_about_students(tiny, written, refused):
    written.write(tiny, [{"value": 1.0}], {})
    tiny.runs[Role.STUDENT] = tiny.runs[Role.KD_STUDENT]
    if not refused:
        assert written.read(tiny) is not None
        return
    with pytest.raises(ExperimentError, match=r"is about another student .*kdviz study --study some-study$"):
        written.read(tiny)


def test_a_table_of_a_model_that_is_gone_is_refused(tiny):
    OF_ALL.write(tiny, [{"value": 1.0}], {})
    del tiny.runs[Role.STUDENT]
    with pytest.raises(ExperimentError, match="is about another student"):
        OF_ALL.read(tiny)


def test_a_table_from_before_says_nothing_and_is_read(tiny):
    tiny.write_table(OF_ALL.name, pa.table({"value": [1.0]}))
    assert OF_ALL.read(tiny) is not None
