"""What the page hears from the command that measures."""

from __future__ import annotations

from pathlib import Path

from kdviz.app.pages.cost.profiler_process import Measurement
from kdviz.cli import main
from kdviz.core.errors import ERRORS_VARIABLE
from kdviz.core.language import error_text, speaking


def test_an_error_of_the_command_is_said_in_the_pages_language(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv(ERRORS_VARIABLE, "json")
    assert main(["profile", "-e", str(tmp_path / "none")]) == 1
    measurement = Measurement(Path("nowhere"))
    measurement.read_line(capsys.readouterr().err.strip())
    assert "none" in measurement.error
    with speaking("zh_CN"):
        said = error_text(measurement.error)
    assert said != measurement.error
    assert any("\u4e00" <= letter <= "\u9fff" for letter in said)


def test_a_line_that_is_no_error_is_a_note_as_it_is():
    measurement = Measurement(Path("nowhere"))
    for line in ("kdviz: 3 operators were not counted", 'kdviz: {"no": "sentence"}', "a library's own words"):
        measurement.read_line(line)
    assert measurement.notes == ["3 operators were not counted", '{"no": "sentence"}']


def test_in_a_terminal_an_error_is_a_plain_sentence(capsys, tmp_path):
    assert main(["profile", "-e", str(tmp_path / "none")]) == 1
    assert "{" not in capsys.readouterr().err
