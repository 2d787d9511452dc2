"""What ``kdviz explain --help`` says."""

import re

import pytest

from kdviz.cli import main


def test_a_settings_value_is_named_as_its_option(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    _, _, settings = capsys.readouterr().out.partition("settings of methods:\n")
    shown = re.findall(r"^ +--([a-z-]+) ([A-Z_]+)", settings, re.MULTILINE)
    assert ("masks", "MASKS") in shown
    assert [value for _, value in shown] == [option.replace("-", "_").upper() for option, _ in shown]
