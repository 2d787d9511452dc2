"""kdviz app: the web app."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from kdviz.cli.common.arguments import verb
from kdviz.core.errors import KdvizError


def add(verbs: Any) -> None:
    parser = verb(verbs, "app", _app, "Open the web app.")
    parser.add_argument("--port", type=_port, default=8501, help="port of the page")
    parser.add_argument("--headless", action="store_true", help="do not open a browser")
    parser.add_argument(
        "--models",
        metavar="DIR",
        help="folder of further experiments to show, or of one experiment (also: KDVIZ_MODELS)",
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="compute on this Ray cluster (also: KDVIZ_RAY)")


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be from 1 to 65535, got {value}")
    return value


def _app(options: argparse.Namespace) -> None:
    from importlib.util import find_spec

    from kdviz.core.environment import threads_from_environment
    from kdviz.core.files import ASSETS

    if find_spec("streamlit") is None:
        raise KdvizError("The app needs streamlit; install it with: pip install streamlit")
    threads_from_environment()  # so that an error is reported here, and not by a worker
    script = ASSETS.parent / "app.py"
    if not script.is_file():
        raise KdvizError("app.py is not here; run the app from a checkout of the repository.")
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(options.port)]
    if options.headless:
        command += ["--server.headless", "true"]
    if options.models:
        from kdviz.cli.common.models_option import environment_for

        os.environ.update(environment_for(Path(options.models)))
    if options.ray:
        os.environ["KDVIZ_RAY"] = options.ray
    os.chdir(script.parent)  # where .streamlit/config.toml is
    os.execv(sys.executable, command)
