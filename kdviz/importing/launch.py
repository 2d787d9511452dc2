"""Launching the app from a notebook."""

from __future__ import annotations

import atexit
import html
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from kdviz.core.errors import KdvizError
from kdviz.experiment import Experiment
from kdviz.importing.memory import keep_models

_SECONDS = 60.0  # time until the app must answer


@dataclass
class App:
    """A running app. It ends with :meth:`stop`, or with this process.

    Attributes:
        url: Address of the experiment's first page.
    """

    url: str
    _process: subprocess.Popen[bytes] = field(repr=False)

    def stop(self) -> None:
        """End the app."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _repr_html_(self) -> str:
        address = html.escape(self.url, quote=True)
        return f'<a href="{address}" target="_blank">{address}</a>'


def launch(experiment: Experiment | str | Path, port: int = 0) -> App:
    """Open the app on an experiment, in a process of its own.

    Args:
        experiment: An experiment, as :func:`kdviz.import_models` or :func:`kdviz.load_experiment` return it, or its
            folder. Models that are only in memory are written into its temporary folder.
        port: Port of the app; 0: any free one.

    Raises:
        KdvizError: A model cannot be written, or the app does not start.
    """
    folder = _folder(experiment)
    port = port or _free_port()
    command = [sys.executable, "-m", "kdviz", "app", "--headless", "--port", str(port), "--models", str(folder.parent)]
    with tempfile.NamedTemporaryFile("wb", prefix="kdviz-app-", suffix=".log", delete=False) as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ))
    app = App(f"http://localhost:{port}/?experiment={folder.name}", process)
    atexit.register(app.stop)
    _wait(process, port, Path(log.name))
    return app


def _folder(experiment: Experiment | str | Path) -> Path:
    if not isinstance(experiment, Experiment):
        return Path(experiment).resolve()
    if all(run.weights for run in experiment.models.values()):
        return experiment.folder.resolve()
    keep_models(experiment)  # the folder is a temporary one
    experiment.save()
    return experiment.folder.resolve()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1) as answer:
                if answer.status == 200:
                    log.unlink(missing_ok=True)
                    return
        except (URLError, OSError):
            time.sleep(0.2)
    process.kill()
    lines = log.read_text(errors="replace").strip().splitlines()
    raise KdvizError("The app does not start: {lines}.", lines=lines[-1] if lines else "it says nothing")
