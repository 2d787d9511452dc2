"""The language of a session, also while it begins again."""

from __future__ import annotations

import pytest
from streamlit.runtime.context import ContextProxy
from streamlit.testing.v1 import AppTest


@pytest.mark.parametrize(
    ("locale", "cookies", "expected"),
    [("zh-CN", {}, "zh_CN"), ("en-GB", {"kdviz-language": "zh"}, "zh_CN"), ("fr", {}, "en")],
)
def test_a_fragment_of_a_session_that_begins_again_has_its_language(monkeypatch, locale, cookies, expected):
    """It runs alone, before a whole run has chosen one."""

    def script() -> None:
        import streamlit as st

        import kdviz.app.session  # noqa: F401  follows the session
        from kdviz.core.language import language

        st.text(language())

    monkeypatch.setattr(ContextProxy, "locale", locale)
    monkeypatch.setattr(ContextProxy, "cookies", cookies)
    ran = AppTest.from_function(script).run()
    assert not ran.exception
    assert ran.text[0].value == expected
