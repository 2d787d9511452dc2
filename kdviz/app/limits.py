"""How much one session, and all sessions together, may keep on this server: uploads in memory, experiments on disk."""

from __future__ import annotations

import os

from kdviz.core.errors import SettingError

MEGABYTE = 1_000_000
SESSION, TOTAL = "KDVIZ_UPLOADS_SESSION_MB", "KDVIZ_UPLOADS_TOTAL_MB"
"""Environment variables that set the limits in megabytes; 0 turns uploads of experiments and weights off."""
ONNX = "KDVIZ_UPLOADS_ONNX"
"""Environment variable; the pages take ONNX files if it is 1."""

GET = "KDVIZ_GET"
"""Environment variable; the pages have no button that downloads the pictures of an experiment if it is 0."""


def session_bytes() -> int:
    """Bytes that one session may keep.

    Raises:
        SettingError: The environment variable is no number.
    """
    return _megabytes(SESSION, 500)


def total_bytes() -> int:
    """Bytes that all sessions together may keep.

    Raises:
        SettingError: The environment variable is no number.
    """
    return _megabytes(TOTAL, 2000)


def file_megabytes(together: int) -> int:
    """Megabytes that one file may have, for an uploader and for the text beside it: at least 1.

    Args:
        together: Bytes that all files may have; Streamlit's own limit of a file, which its server holds to, is often
            the smaller one, and depends on where the app is started.
    """
    import streamlit as st

    return max(1, min(int(st.get_option("server.maxUploadSize")), together // MEGABYTE))


def _megabytes(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) < 9):
        raise SettingError(
            "The environment variable {name} must be a whole number of megabytes, got '{text}'.",
            name=name,
            text=text[:40],
        )
    return int(text) * MEGABYTE


def onnx_allowed() -> bool:
    """Whether the pages take ONNX files.

    No code in them is run, but onnxruntime parses them in C++, in the process that computes maps for everybody, and a
    graph may ask for any amount of memory. So a server takes them only if its operator trusts the users that far; the
    command line, which everybody runs for themselves, always does.
    """
    return os.environ.get(ONNX, "").strip() == "1"


def fetching_allowed() -> bool:
    """Whether visitors may start the download of pictures that an experiment of this server names.

    It happens once for all of them, from the site that the data set's library knows, into the server's own folders. An
    operator who wants no download that a visitor starts turns it off, and runs ``kdviz get`` in a terminal.
    """
    return os.environ.get(GET, "").strip() != "0"
