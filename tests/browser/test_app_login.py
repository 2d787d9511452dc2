"""A login by a real OpenID Connect provider, run here: who enters, for how long, and what is left after a log-out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import NOT_OF_THE_BROWSER, close, needs_browser, running
from strangers import Stranger, arrived

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
mock = pytest.importorskip("oidc_provider_mock", reason="oidc-provider-mock is not installed")
pytest.importorskip("authlib", reason="authlib is not installed")
pytestmark = [*needs_browser, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the provider's own warnings

SECRET = "0123456789abcdef0123456789abcdef"  # of the test's own server
READERS = {"email": "ada@example.org", "email_verified": True, "groups": ["Readers"]}
PEOPLE = {
    "ada": READERS,
    "bob": {**READERS, "email": "bob@elsewhere.org"},
    "eve": {**READERS, "email_verified": False},
    "dan": {**READERS, "groups": ["others"]},
    "kim": {"email": "kim@example.org", "email_verified": True},
}
SHOWN = ".ab-card, canvas, .stFileUploader"
"""What only people who are let in may see."""


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    people = [mock.User(sub=name, claims=claims) for name, claims in PEOPLE.items()]
    with mock.run_server_in_thread(user_claims=people) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, provider: str) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("login")
    secrets = folder / "secrets.toml"
    limits = {"KDVIZ_LOGIN_ALLOWED": "@example.org", "KDVIZ_LOGIN_GROUPS": "readers", "KDVIZ_LOGIN_HOURS": "2"}
    variables = {"KDVIZ_LOGIN": "1", "KDVIZ_MODELS": "", "TMPDIR": str(folder), "STREAMLIT_SECRETS_FILES": str(secrets)}
    log = folder / "log.txt"
    with running(log, **variables, **limits) as (address, _process):
        _set_up(secrets, address, provider)
        yield address
    assert "Traceback" not in log.read_text().replace(REFUSED, ""), log.read_text()


REFUSED = "Traceback"
"""Streamlit logs why it did not believe a token, with the lines of code."""


def _set_up(secrets: Path, address: str, provider: str) -> None:
    secrets.write_text(
        f'[auth]\nredirect_uri = "{address}/oauth2callback"\ncookie_secret = "{SECRET}"\nclient_id = "kdviz"\n'
        f'client_secret = "x"\nserver_metadata_url = "{provider}/.well-known/openid-configuration"\n'
    )


@pytest.fixture
def person(english: Any) -> Iterator[Callable[[], Any]]:
    """A page of somebody of whom neither the app nor the provider knows anything: whoever was there has gone."""
    before = english.pages

    def arrive() -> Any:
        english.clear_cookies(name=NOT_OF_THE_BROWSER)
        return english.new_page()

    yield arrive
    close(english, before)


def log_in(page: Any, address: str, name: str) -> None:
    page.goto(f"{address}/models")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name=name, exact=True).first.click()
    page.wait_for_url(f"{address}/**")


def log_out(page: Any, address: str) -> None:
    """By the button of the app, and then at the provider, to which it leads."""
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("button", name="End session").click()
    page.wait_for_url(f"{address}/**")


def is_asked(page: Any) -> None:
    playwright.expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert page.locator(SHOWN).count() == 0


def test_who_is_let_in_leaves_nothing_behind(guarded: str, person: Callable[[], Any]) -> None:
    page = person()
    log_in(page, guarded, "ada")
    page.goto(f"{guarded}/models")
    playwright.expect(page.locator(".ab-card")).to_have_count(3)
    cookies = page.context.cookies(guarded)
    (user,) = [cookie for cookie in cookies if cookie["name"] == "_streamlit_user"]
    assert user["httpOnly"]
    assert user["sameSite"] == "Lax"
    copied = [{"name": cookie["name"], "value": cookie["value"], "url": guarded} for cookie in cookies]

    log_out(page, guarded)
    is_asked(page)
    assert "_streamlit_user" not in {cookie["name"] for cookie in page.context.cookies(guarded)}
    page.go_back()
    page.goto(f"{guarded}/compare")
    is_asked(page)
    page.goto(f"{guarded}/models")
    is_asked(page)
    thief = person()
    thief.context.add_cookies(copied)
    thief.goto(f"{guarded}/models")
    is_asked(thief)


@pytest.mark.parametrize("name", ["bob", "eve", "dan", "kim"])
def test_who_is_not_on_the_lists_sees_nothing(guarded: str, person: Callable[[], Any], name: str) -> None:
    page = person()
    log_in(page, guarded, name)
    playwright.expect(page.get_by_role("alert").filter(has_text="may not use this server")).to_be_visible()
    assert page.locator(SHOWN).count() == 0
    log_out(page, guarded)
    is_asked(page)


@pytest.mark.parametrize("wrong", [{"exp": -7200}, {"iss": "http://elsewhere.example"}], ids=["expired", "issuer"])
def test_a_wrong_token_lets_nobody_in(
    guarded: str, person: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    from oidc_provider_mock._app import OpenIDCode

    right = OpenIDCode.get_jwt_config
    monkeypatch.setattr(OpenIDCode, "get_jwt_config", lambda *given, **more: {**right(*given, **more), **wrong})
    page = person()
    log_in(page, guarded, "ada")
    assert "_streamlit_user" not in {cookie["name"] for cookie in page.context.cookies(guarded)}
    page.goto(f"{guarded}/models")
    is_asked(page)


def test_who_says_no_to_the_provider_is_asked_again(guarded: str, person: Callable[[], Any]) -> None:
    page = person()
    page.goto(f"{guarded}/models")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Deny").click()
    page.wait_for_url(f"{guarded}/**")
    page.goto(f"{guarded}/models")
    is_asked(page)


# what a stranger reads, message by message ----------------------------------------------------------------------------


def signed(address: str, secret: str = SECRET, age: float = 10, **claims: Any) -> str:
    """A cookie as Streamlit makes it of a login."""
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    issued = int(time.time() - age)
    user = {"is_logged_in": True, "origin": address, "iat": issued, "sub": "ada", **READERS, **claims}
    return create_signed_value(secret, "_streamlit_user", json.dumps(user)).decode()


def with_cookie(address: str, value: str) -> Stranger:
    stranger = arrived(address)
    stranger.cookies["_streamlit_user"] = value
    return stranger


def sees_maps(stranger: Stranger) -> bool:
    _, read = stranger.connect("")
    assert len(read) > 300
    return b"Does the student look where the teacher looks" in read


def test_a_cookie_counts_as_long_as_it_is_right(guarded: str) -> None:
    right = signed(guarded)
    assert sees_maps(with_cookie(guarded, right))
    half = len(right) // 2
    altered = right[:half] + ("A" if right[half] != "A" else "B") + right[half + 1 :]
    wrong = [
        altered,
        right[:-3],
        signed(guarded, secret="another secret of another server"),
        signed(guarded, age=2.1 * 3600),  # KDVIZ_LOGIN_HOURS is 2
        signed(guarded, age=-3600),
        signed("http://elsewhere.example"),
        signed(guarded, email="mallory@elsewhere.org"),
        "",
    ]
    for value in wrong:
        assert not sees_maps(with_cookie(guarded, value)), value
