"""Tables that are saved: a name of a class, a file or a title must not become a formula."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import kdviz.app
from kdviz.app.spreadsheets import csv_text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_a_text_that_looks_like_a_formula_is_made_a_text(text: str) -> None:
    rows = list(csv.reader(io.StringIO(csv_text(pd.DataFrame({"class": [text, "cat"], text: [1, 2]})), newline="")))
    inert = f"'{text}".replace("\r", " ")
    assert rows == [["class", inert], [inert, "1"], ["cat", "2"]]


def test_everything_else_stays_as_it_is() -> None:
    frame = pd.DataFrame(
        {
            "class": ["a=b", "ü", None, "a,b"],
            "number": [-1, 2, 3, 4],
            "share": [-0.5, np.nan, 1e-9, 2.0],
            "right": [True, False, True, True],
            "kind": pd.Categorical(["x", "y", "x", "x"]),
            "mixed": [-1, "b", 2.5, None],
        },
        index=[5, 6, 7, 8],
    )
    assert csv_text(frame) == frame.to_csv(index=False)
    table = pa.table({"a": pa.array(["x", "-y"]).dictionary_encode(), "b": [-1.5, None]})
    assert csv_text(table) == "a,b\nx,-1.5\n'-y,\n"
    assert csv_text(pd.DataFrame({"a": [1], "b": [2]}).set_axis(["a", "a"], axis=1)) == "a,a\n1,2\n"
    assert csv_text(pd.DataFrame({"a": []})) == "a\n"


def test_every_page_saves_its_tables_this_way() -> None:
    others = [
        path.name
        for path in Path(kdviz.app.__file__).parent.rglob("*.py")
        if path.name != "spreadsheets.py" and re.search(r"to_csv\(|csv\.writer", path.read_text(encoding="utf-8"))
    ]
    assert others == []
