"""The app opens on a machine where Streamlit never ran: nothing waits for an answer in the terminal."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")

ROOT = Path(__file__).resolve().parents[2]
WAIT = 600  # seconds, after which nothing more will be said; a second or two are usual


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def said_in_a_terminal(command: list[str], home: Path, until: tuple[str, ...]) -> str:
    """What a command prints in a terminal with an empty home, up to one of these texts; it is ended then."""
    ours, theirs = pty.openpty()
    # With a display, Streamlit is not headless by itself; "true" stands for the browser.
    more = {"HOME": str(home), "DISPLAY": ":0", "BROWSER": "true"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLIT_")} | more
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment, start_new_session=True
    )
    os.close(theirs)
    said, end = "", time.monotonic() + WAIT
    try:
        while time.monotonic() < end and not any(text in said for text in until):
            if select.select([ours], [], [], 1)[0]:
                try:
                    said += os.read(ours, 4096).decode(errors="replace")
                except OSError:  # it ended
                    break
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)
    return said


@pytest.mark.parametrize("what", ["README's command", "kdviz app"])
@pytest.mark.slow
def test_nothing_asks_for_an_email_address(tmp_path, what):
    commands = {
        "README's command": ["streamlit", "run", "app.py", "--server.port", free_port()],
        "kdviz app": ["kdviz", "app", "--port", free_port()],
    }
    said = said_in_a_terminal([sys.executable, "-m", *commands[what]], tmp_path, ("URL:", "mail:"))
    assert "mail" not in said
    assert "URL:" in said
