"""The proxy of docs/how-to/many-people.md, taken from there: two page servers behind nginx, one of which is killed."""

from __future__ import annotations

import getpass
import http.client
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from browser import ENDED, ROOT, SITE, VISIT, close, needs_browser, running

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = [
    *needs_browser,
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="no nginx found: install the package nginx-light"),
]
RETURNS = 600.0  # seconds for nginx to find the other server, and for the page to be drawn there


@dataclass
class Site:
    """Ways to nginx from several networks, by their ports, and the page servers behind it by theirs."""

    ways: list[int]
    servers: dict[int, subprocess.Popen]


def documented() -> str:
    """The configuration that the documentation gives."""
    (found,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/how-to/many-people.md").read_text(), re.DOTALL)
    return found


def configuration(folder: Path, ports: list[int], ways: list[int]) -> str:
    """The documented one with this machine's ports, without its certificate, and as no service of the system."""
    found = documented()
    changes = {
        r"listen 443 ssl;": f"listen unix:{folder}/socket; set_real_ip_from unix:; real_ip_header X-Test-Address; "
        "add_header X-Server $upstream_addr always;",
        r"10\.0\.0\.1:8501": f"127.0.0.1:{ports[0]}",
        r"10\.0\.0\.2:8501": f"127.0.0.1:{ports[1]}",
    }
    for before, after in changes.items():
        found, count = re.subn(before, after, found)
        assert count == 1, before
    places = "".join(
        f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    networks = "".join(WAY.format(port=port, number=number, folder=folder) for number, port in enumerate(ways))
    return f"""
daemon off; user {getpass.getuser()}; pid {folder}/nginx.pid; error_log {folder}/error.log warn; worker_processes 1;
events {{ worker_connections 512; }}
http {{ access_log {folder}/access.log; {places}
{found} {networks} }}
"""


WAY = """
server {{
  listen 127.0.0.1:{port};
  client_max_body_size 0;
  location / {{
    proxy_pass http://unix:{folder}/socket; proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 1d;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    proxy_set_header Host $http_host; proxy_set_header X-Test-Address 10.1.{number}.1;
  }}
}}
"""
"""Somebody's network: what comes by this port has its address."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    variables = {"KDVIZ_HOSTS": SITE, "KDVIZ_MODELS": "", "STREAMLIT_SERVER_COOKIE_SECRET": "s" * 40}
    first = running(folder / "first.txt", TMPDIR=str(folder), **variables)
    second = running(folder / "second.txt", TMPDIR=str(folder), **variables)
    with first as (one, one_process), second as (other, other_process):
        ways = _free_ports(8)
        ports = [int(address.rpartition(":")[2]) for address in (one, other)]
        path = folder / "nginx.conf"
        path.write_text(configuration(folder, ports, ways))
        nginx = subprocess.Popen([str(NGINX), "-c", str(path), "-e", str(folder / "error.log")])
        try:
            _wait_until(lambda: _answers(ways[0]), "nginx does not answer")
            yield Site(ways, dict(zip(ports, (one_process, other_process), strict=True)))
        finally:
            nginx.terminate()
            nginx.wait(RETURNS)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _wait_until(condition: Any, problem: str, seconds: float = RETURNS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, problem
        time.sleep(0.2)


def server_of(way: int) -> int:
    """The port of the server to which nginx leads somebody."""
    connection = http.client.HTTPConnection("127.0.0.1", way, timeout=RETURNS)
    connection.request("GET", "/_stcore/health", headers={"Host": SITE})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    return int(answer.getheader("X-Server", "").rpartition(":")[2])


@pytest.fixture
def browser(english: Any) -> Iterator[Any]:
    before = english.pages
    yield english
    close(english, before)


def opened(browser: Any, way: int) -> Any:
    """The page of somebody, by the server's name."""
    page = browser.new_page()
    page.goto(f"http://{SITE}:{way}/compare")
    page.locator("canvas.k-map").first.wait_for()
    page.wait_for_function(ENDED)
    return page


def shows(page: Any, name: str, heading: str, seconds: float = RETURNS) -> None:
    page.evaluate(VISIT, f"/{name}")
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text(heading, timeout=seconds * 1000)


def test_one_of_two_servers_is_killed(site: Site, browser: Any) -> None:
    by_server: dict[int, int] = {}
    for way in site.ways:
        by_server.setdefault(server_of(way), way)
        assert server_of(way) == server_of(way)  # one person stays on one server
    assert by_server.keys() == site.servers.keys()
    (killed, theirs), (_kept, others) = by_server.items()
    unlucky, lucky = opened(browser, theirs), opened(browser, others)
    socket_of_lucky: list[str] = []
    lucky.on("websocket", lambda one: socket_of_lucky.append(one.url))

    site.servers[killed].kill()
    site.servers[killed].wait(RETURNS)
    shows(lucky, "methods", "Methods and limits")
    playwright.expect(lucky.get_by_text("Connection error")).to_have_count(0)
    assert socket_of_lucky == []  # their connection was never lost
    assert server_of(theirs) != killed
    # Theirs comes back on the other server, as a new session; an address reopens its view.
    _wait_until(lambda: _works(unlucky), "the page does not come back")
    unlucky.goto(f"http://{SITE}:{theirs}/compare?sample=3")
    unlucky.locator("canvas.k-map").first.wait_for()


def _works(page: Any) -> bool:
    try:
        shows(page, "methods", "Methods and limits", 5)  # what is asked for while the connection is lost is lost, too
    except AssertionError:
        return False
    return True
