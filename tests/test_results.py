"""Results as Markdown: figures of tables, and a README that is what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kdviz.analysis.results import results, sections, updated
from kdviz.cli import main
from kdviz.errors import ExperimentError, SettingError, UnknownNameError
from kdviz.experiment import load_experiment

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


@pytest.fixture(scope="module")
def shipped():
    return load_experiment(ROOT / "models" / "mnist")


def cells(text: str) -> list[list[str]]:
    """The rows of a text's Markdown tables, without the lines of dashes."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in row] for row in rows]


def test_readme_says_what_the_tables_say(shipped):
    text = README.read_text(encoding="utf-8")
    assert updated(text, shipped) == text, "README's figures are old: kdviz report -e models/mnist --update README.md"


def test_models_have_their_own_figures(shipped):
    table = shipped.table("predictions").to_pylist()
    head, *rows = cells(results(shipped, ["models"]))
    assert head[:2] == ["model", "accuracy"]
    assert len(rows) == len(shipped.runs)
    for role, row in zip(shipped.runs, rows, strict=True):
        right = [one["label"] == one["predicted"] for one in table if (one["split"], one["role"]) == ("test", role)]
        assert row[1] == f"{100 * np.mean(right):.2f}%"


def test_a_sweep_has_its_means_over_seeds(shipped):
    rows = cells(results(shipped, ["temperature"]))
    table = shipped.table("temperature").to_pylist()
    for value in (1.0, 4.0, 64.0):
        own = [one["accuracy"] for one in table if (one["split"], one["temperature"]) == ("test", value)]
        shown = next(row for row in rows if row[0] == f"{value:g}")
        assert shown[2] == f"{100 * np.mean(own):.2f}% ± {100 * np.std(own, ddof=1):.2f}"


def test_only_what_is_there(tiny):
    with pytest.raises(ExperimentError, match="kdviz evaluate"):
        results(tiny, ["models"])
    assert results(tiny) == ""
    with pytest.raises(UnknownNameError, match="temperature"):
        results(tiny, ["temprature"])


def test_a_document_is_filled_between_its_marks(shipped):
    document = "# Mine\n\n<!-- kdviz results: cost -->\nold\n<!-- kdviz end -->\n\nand more\n"
    new = updated(document, shipped)
    assert new.startswith("# Mine\n\n<!-- kdviz results: cost -->\n")
    assert new.endswith("<!-- kdviz end -->\n\nand more\n")
    assert "old" not in new
    assert sections["cost"](shipped) in new
    assert updated(new, shipped) == new
    with pytest.raises(SettingError, match="no place for results"):
        updated("# Mine\n", shipped)


def test_the_command_leaves_a_document_alone_that_it_cannot_fill(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- kdviz results: nothing -->\n<!-- kdviz end -->\n")
    before = page.read_bytes()
    assert main(["report", "-e", str(ROOT / "models" / "mnist"), "--update", str(page)]) == 1
    assert "nothing" in capsys.readouterr().err
    assert page.read_bytes() == before
    assert main(["report", "-e", str(ROOT / "models" / "mnist"), "--update", str(tmp_path / "none.md")]) == 1
    assert "cannot be read" in capsys.readouterr().err
