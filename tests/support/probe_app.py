"""The app with a thread that counts, when a test asks, what this process keeps of its sessions.

A test writes the file ``ask`` into the folder PROBE; the answer comes as ``answer.json``.
"""

from __future__ import annotations

import gc
import json
import os
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from forgetful import forget_on_request
from seldom import refresh_seldom

from kdviz.app import lifespan, main, middleware

_FOLDER = Path(os.environ["PROBE"])
_stop = threading.Event()


def _answer() -> None:
    while not _stop.wait(0.1):
        if (_FOLDER / "ask").exists():
            (_FOLDER / "ask").unlink()
            (_FOLDER / "answer.new").write_text(json.dumps(_private()))
            (_FOLDER / "answer.new").replace(_FOLDER / "answer.json")


_seen: dict[int, tuple[str, weakref.ref]] = {}


def _private() -> Counter[str]:
    """What is alive of all that was seen; garbage is collected by the app, not by the probe."""
    for kind, private in _objects():
        _seen.setdefault(id(private), (kind, weakref.ref(private)))
    return Counter(kind for kind, reference in list(_seen.values()) if reference() is not None)


def _objects() -> Iterator[tuple[str, Any]]:
    from kdviz.app import results
    from kdviz.app.library import OpenExperiment
    from kdviz.app.pages.compare.own_pictures import Upload
    from kdviz.app.service import Request
    from kdviz.experiment import Experiment

    shared = results.shared_results()
    for each in gc.get_objects():
        if isinstance(each, (OpenExperiment, Experiment)) and _is_private(each):
            yield "experiments", each
        elif isinstance(each, Upload):
            yield "pictures", each
        elif isinstance(each, Request) and each.results is not shared:
            yield "requests", each
        elif isinstance(each, results.Results) and each is not shared:
            yield "results", each


def _is_private(each: Any) -> bool:
    return getattr(each, "experiment", each).name.startswith("own-")


@asynccontextmanager
async def probing(app: Any) -> AsyncIterator[None]:
    threading.Thread(target=_answer, daemon=True).start()
    async with lifespan(app):
        yield
    _stop.set()


app = st.App(__file__, lifespan=probing, middleware=middleware)
refresh_seldom()
forget_on_request()
main()
