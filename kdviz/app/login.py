"""Who may see the app: everybody or, with ``KDVIZ_LOGIN=1``, people whom an OpenID Connect provider knows.

The provider is named in ``.streamlit/secrets.toml``, section ``[auth]``; see docs/how-to/many-people.md.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAuthError
from streamlit.runtime.secrets import secrets_singleton

from kdviz.app.texts import say_error
from kdviz.core.language import _

VARIABLE = "KDVIZ_LOGIN"
ALLOWED = "KDVIZ_LOGIN_ALLOWED"
GROUPS = "KDVIZ_LOGIN_GROUPS"
HOURS = "KDVIZ_LOGIN_HOURS"
"""Environment variables: whether a login is needed, the e-mail addresses or ``@domains`` that may enter, the groups of
whose people one must be, and how long a login lasts."""

_HOURS = 24.0
_CLOCKS = 300.0  # seconds by which the provider's clock may be ahead

_COOKIE = 31 * 86_400.0  # seconds: longer than a browser sends Streamlit's cookie

Login = tuple[str, str, float]
"""Who issued it, for whom and when."""

_ends: dict[Login, float] = {}
"""When each login that this server has seen ends, by the clock of its process: that of the machine may jump."""
_logged_out: set[Login] = set()
"""Logins that were ended: a copied cookie is of no use after a log-out."""


def passed() -> bool:
    """Whether this person may see the pages; if not, show what to do."""
    if os.environ.get(VARIABLE, "0") in ("", "0"):
        return True
    if not _is_configured():
        say_error(
            _(
                "This server asks for a login, but its operator has not set one up: the file .streamlit/secrets.toml "
                "has no section [auth]."
            )
        )
        return False
    person = st.user.to_dict()
    if not st.user.is_logged_in or not _lasts(person):
        _ask_for_login()
        return False
    if not _is_allowed(person):
        say_error(_("You are logged in, but this address may not use this server; please ask its operator."))
        st.button(_("Log out"), icon=":material/logout:", on_click=log_out)
        return False
    return True


def log_out() -> None:
    """End the login, also for whoever has a copy of the cookie; on this server."""
    login = _login_of(st.user.to_dict())
    _ends.setdefault(login, time.monotonic())
    _logged_out.add(login)
    st.logout()


def _forget_old() -> None:
    """Forget the logins whose cookie no browser sends any more; until then, none begins anew because a clock jumps."""
    now = time.monotonic()
    for login in [login for login, end in list(_ends.items()) if end + _COOKIE < now]:
        _ends.pop(login, None)
        _logged_out.discard(login)


def _login_of(person: Mapping[str, Any]) -> Login:
    return str(person.get("iss")), str(person.get("sub")), _issued(person)


def _issued(person: Mapping[str, Any]) -> float:
    """When the provider issued the login (OpenID Connect Core 1.0, section 2), seconds since 1970; NaN if unknown."""
    issued = person.get("iat")
    return float(issued) if isinstance(issued, int | float) else math.nan


def _seconds() -> float:
    try:
        hours = float(os.environ.get(HOURS) or _HOURS)
    except ValueError:
        hours = _HOURS
    return 3600 * (hours if hours > 0 else _HOURS)


def _lasts(person: Mapping[str, Any]) -> bool:
    """Whether a login is neither too old nor ended; Streamlit's cookie alone would keep it for 30 days."""
    login = _login_of(person)
    if login not in _ends:
        _forget_old()
        age = time.time() - _issued(person)
        if not -_CLOCKS <= age < _seconds():
            return False
        _ends[login] = time.monotonic() + _seconds() - age
    return time.monotonic() < _ends[login] and login not in _logged_out


def is_on() -> bool:
    """Whether the person is logged in, and so can log out."""
    return os.environ.get(VARIABLE, "0") not in ("", "0") and _is_configured() and bool(st.user.is_logged_in)


def _is_configured() -> bool:
    return secrets_singleton.load_if_toml_exists() and "auth" in st.secrets


def _ask_for_login() -> None:
    st.title("kdviz", anchor=False)
    st.markdown(_("Please log in to see the experiments of this server."))
    if st.button(_("Log in"), icon=":material/login:"):
        try:
            st.login()
        except StreamlitAuthError as error:
            say_error(
                _("The login of this server is not set up completely: {reason}", reason=" ".join(str(error).split()))
            )


def _is_allowed(person: Mapping[str, Any]) -> bool:
    """Whether somebody may enter: by address and by group, as far as there are lists of them."""
    return _has_allowed_address(person) and _is_in_allowed_group(person)


def _has_allowed_address(person: Mapping[str, Any]) -> bool:
    """Without a list, everybody whom the provider knows may enter.

    An address that the provider has not verified is refused where there is a list, since anybody may claim it.
    """
    allowed = _listed(ALLOWED)
    email = person.get("email")
    if not allowed:
        return True
    if not isinstance(email, str) or person.get("email_verified") is False:
        return False
    address = email.lower()
    return address in allowed or any(entry.startswith("@") and address.endswith(entry) for entry in allowed)


def _is_in_allowed_group(person: Mapping[str, Any]) -> bool:
    """By the claim ``groups``, as most providers send it on request."""
    allowed = _listed(GROUPS)
    groups = person.get("groups") or ()
    groups = [groups] if isinstance(groups, str) else groups
    return not allowed or any(str(group).lower() in allowed for group in groups)


def _listed(variable: str) -> list[str]:
    return [entry.strip().lower() for entry in os.environ.get(variable, "").split(",") if entry.strip()]
