"""The page Cost of an experiment that was measured on two machines."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from cost_reports import made

from kdviz.app.texts import plain
from kdviz.compress.cost import CHECK, SCHEMA, read_cost
from kdviz.narrative.products.device_limits import device_limits

PAGE = "cost"
BOARD = "Board <b>A</b>"
SERVER_ROWS = made(("teacher", "torch", 4.0, 8, 32, 0.99), ("kd_student", "torch", 1.0, 4, 2, 0.98))
BOARD_ROWS = made(("teacher", "onnx", 40.0, 8, 32, 0.99), ("kd_student", "openvino", 10.0, 4, 2, 0.98))


def _rows(table: pa.Table, **more: object) -> list[dict]:
    return [{**row, "cores": 4, "measured": "2026-01-01T00:00:00Z", **more} for row in table.to_pylist()]


@pytest.fixture
def measured(tiny):
    limits = {"arithmetic_ms": 20.0, "reading_ms": 5.0}
    on_board = _rows(BOARD_ROWS.table, machine=BOARD, measured_by=CHECK, memory_bytes=50_000_000, **limits)
    rows = [*_rows(SERVER_ROWS.table, machine="Server"), *on_board]
    for row in rows:
        row["weights"] = tiny.runs[row["role"]].sha256
    tiny.write_table("cost", pa.Table.from_pylist(rows, schema=SCHEMA))
    return tiny


def shown(page) -> str:
    return "\n".join(str(part.value) for kind in ("markdown", "caption") for part in page.get(kind))


def test_the_machine_is_chosen_and_is_in_the_address(measured, page_of):
    page = page_of(measured.folder)
    (box,) = page.selectbox
    assert (box.label, box.value) == ("Measured on", "Server")
    assert "Measured on Server, 4 cores" in shown(page)
    assert "this processor needs at least" not in shown(page)
    page = page_of(measured.folder, device=BOARD)
    (box,) = page.selectbox
    assert box.value == BOARD
    assert re.search(r"with \d+ threads?, (ONNX Runtime|on )", shown(page))  # no PyTorch ran there
    assert "Server" not in shown(page)
    for sentence in device_limits(read_cost(measured).on(BOARD)):
        assert plain(sentence) in shown(page)


def test_a_device_that_is_not_there_is_the_first(measured, page_of):
    assert page_of(measured.folder, device="Phone").selectbox[0].value == "Server"


def test_memory_is_an_axis_where_it_was_measured(measured):
    report = read_cost(measured)
    assert "memory" not in [axis.name for axis in report.axes]
    report = report.on(BOARD)
    assert "memory" in [axis.name for axis in report.axes]
    assert [entry.costs["memory"] for entry in report.entries] == [50.0, 50.0]
    assert report.forms == ["onnx", "openvino"]
