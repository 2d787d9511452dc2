"""Who may see the app: everybody or, with ``KDVIZ_LOGIN=1``, people whom an OpenID Connect provider knows.

The provider is named in ``.streamlit/secrets.toml``, section ``[auth]``; see docs/how-to/many-people.md.
"""

from __future__ import annotations

import os

import streamlit as st
from streamlit.errors import StreamlitAuthError
from streamlit.runtime.secrets import secrets_singleton

from kdviz.app.texts import say_error
from kdviz.core.language import _

VARIABLE = "KDVIZ_LOGIN"
ALLOWED = "KDVIZ_LOGIN_ALLOWED"
"""Environment variables: whether a login is needed, and the e-mail addresses or ``@domains`` that may enter."""


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
    if not st.user.is_logged_in:
        _ask_for_login()
        return False
    if not _is_allowed(st.user.get("email"), st.user.get("email_verified")):
        say_error(_("You are logged in, but this address may not use this server; please ask its operator."))
        st.button(_("Log out"), icon=":material/logout:", on_click=st.logout)
        return False
    return True


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


def _is_allowed(email: object, verified: object) -> bool:
    """Whether an address may enter; without a list, everybody whom the provider knows may.

    An address that the provider has not verified is refused where there is a list, since anybody may claim it.
    """
    allowed = [entry.strip().lower() for entry in os.environ.get(ALLOWED, "").split(",") if entry.strip()]
    if not allowed:
        return True
    if not isinstance(email, str) or verified is False:
        return False
    address = email.lower()
    return address in allowed or any(entry.startswith("@") and address.endswith(entry) for entry in allowed)
