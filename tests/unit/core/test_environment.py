"""Settings of the environment: used as they are, or refused."""

import pytest

from kdviz.cli import main
from kdviz.core.environment import threads_from_environment
from kdviz.core.errors import SettingError


@pytest.mark.parametrize(("given", "threads"), [(None, None), ("", None), ("1", 1), (" 12 ", 12)])
def test_threads_as_they_are_asked_for(monkeypatch, given, threads):
    monkeypatch.delenv("KDVIZ_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("KDVIZ_THREADS", given)
    assert threads_from_environment() == threads


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5", "²"])
def test_another_number_of_threads_is_refused(monkeypatch, capsys, given):
    monkeypatch.setenv("KDVIZ_THREADS", given)
    with pytest.raises(SettingError, match="whole number of at least 1"):
        threads_from_environment()
    assert main(["app"]) == 1
    assert capsys.readouterr().err == f"kdviz: KDVIZ_THREADS must be a whole number of at least 1, got '{given}'.\n"
