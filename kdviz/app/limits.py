"""What one session, and all of them together, may keep here of their own: uploads in memory, experiments on disk."""

from __future__ import annotations

import os

from kdviz.core.errors import SettingError

MEGABYTE = 1_000_000
SESSION, TOTAL = "KDVIZ_UPLOADS_SESSION_MB", "KDVIZ_UPLOADS_TOTAL_MB"
"""The environment variables that set them; 0 turns bringing one's own experiments and weights off."""
ONNX = "KDVIZ_UPLOADS_ONNX"
"""The environment variable that lets the page take ONNX files: 1."""


def session_bytes() -> int:
    """Of one session.

    Raises:
        SettingError: The environment variable is no number.
    """
    return _megabytes(SESSION, 500)


def total_bytes() -> int:
    """Of all sessions together.

    Raises:
        SettingError: The environment variable is no number.
    """
    return _megabytes(TOTAL, 2000)


def _megabytes(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) < 9):
        raise SettingError(f"The environment variable {name} must be a whole number of megabytes, got '{text[:40]}'.")
    return int(text) * MEGABYTE


def onnx_allowed() -> bool:
    """Whether the page takes ONNX files.

    No code in them runs, but onnxruntime parses them in C++, in the process that computes maps for everybody, and a
    graph may ask for any amount of memory. So a server takes them only where its operator says that those who use it
    are trusted so far; the command line, which everybody runs for himself, always does.
    """
    return os.environ.get(ONNX, "").strip() == "1"
