"""The view in the page's address: a link opens it again, and a page to which one returns is as it was left.

Streamlit drops the query of a page on the browser's Back button and on its own navigation, so the session remembers
each value, too. Default values are left out of the address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from kdviz.app.texts import say_error
from kdviz.core.language import _

EXPERIMENT = "experiment"


def read(name: str, default: str) -> str:
    """The value of ``name`` in the address, else the one that the session remembers, else the default."""
    return st.query_params.get(name, st.session_state.get(f"address-{name}", default))


def read_choice(name: str, options: Sequence[str], default: str) -> str:
    """:func:`read`, but one of ``options``; anything else is reported and replaced by the default."""
    value = read(name, default)
    if value in options:
        return value
    say_error(
        _(
            "'{value}' in the page's address is not a known {name}; '{default}' is used instead.",
            value=value[:40],
            name=name,
            default=default,
        )
    )
    return default


def keep(name: str, value: str, default: str) -> None:
    """Put a value into the address and remember it."""
    st.session_state[f"address-{name}"] = value
    if value == default:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != value:
        st.query_params[name] = value


def widget_key(key: str, value: Any) -> str:
    """The key of a widget whose first value is ``value``; it keeps its choice, and the focus, while it is shown.

    A widget that is given its first value as an argument would become another widget after each choice.
    """
    if key not in st.session_state:
        st.session_state[key] = value
    return key


def keep_only(*names: str) -> None:
    """Remove from the address what other pages left there: all but these names and the experiment."""
    for name in list(st.query_params):
        if name not in (*names, EXPERIMENT):
            del st.query_params[name]


def keep_only_for(experiment: str) -> None:
    """Forget what the session remembers of another experiment: a link on a page has opened this one."""
    if st.session_state.get(f"address-{EXPERIMENT}", experiment) != experiment:
        for name in [name for name in st.session_state if str(name).startswith("address-")]:
            del st.session_state[name]


def forget() -> None:
    """Forget everything, in the address and in the session: it was about another experiment."""
    st.query_params.clear()
    for name in [name for name in st.session_state if str(name).startswith("address-")]:
        del st.session_state[name]
