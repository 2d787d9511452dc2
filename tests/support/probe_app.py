"""The app with a thread that counts, when a test asks, what this process keeps of its sessions.

A test writes the file ``ask`` into the folder PROBE; the answer comes as ``answer.json``.
"""

from __future__ import annotations

import gc
import json
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st

from kdviz.app import lifespan, main, middleware

_FOLDER = Path(os.environ["PROBE"])
_stop = threading.Event()


def _answer() -> None:
    while not _stop.wait(0.1):
        if (_FOLDER / "ask").exists():
            (_FOLDER / "ask").unlink()
            (_FOLDER / "answer.new").write_text(json.dumps(_private()))
            (_FOLDER / "answer.new").replace(_FOLDER / "answer.json")


def _private() -> Counter[str]:
    from kdviz.app import results
    from kdviz.app.library import OpenExperiment
    from kdviz.app.pages.compare.own_pictures import Upload
    from kdviz.app.service import Request
    from kdviz.experiment import Experiment

    gc.collect()
    shared, found = results.shared_results(), Counter[str]()
    for one in gc.get_objects():
        found["experiments"] += isinstance(one, (OpenExperiment, Experiment)) and _is_own(one)
        found["pictures"] += isinstance(one, Upload)
        found["requests"] += isinstance(one, Request) and one.results is not shared
        found["results"] += isinstance(one, results.Results) and one is not shared
    return found


def _is_own(one: Any) -> bool:
    return getattr(one, "experiment", one).name.startswith("own-")


@asynccontextmanager
async def probing(app: Any) -> AsyncIterator[None]:
    threading.Thread(target=_answer, daemon=True).start()
    async with lifespan(app):
        yield
    _stop.set()


app = st.App(__file__, lifespan=probing, middleware=middleware)
main()
