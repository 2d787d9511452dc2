"""Texts on a page, above all those from users, files and errors, which are shown literally."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import streamlit as st
from PIL import Image

from kdviz.core.errors import KdvizError
from kdviz.core.language import _, error_text, language, speaking

if TYPE_CHECKING:
    from kdviz.experiment import Experiment

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:^&])")


def plain(text: str) -> str:
    """Text from a user or a file, escaped for elements that read Markdown."""
    return _MARKDOWN.sub(r"\\\1", text)


def together(sentences: Iterable[str]) -> str:
    """Sentences joined by spaces, except in Chinese."""
    return ("" if language().startswith("zh") else " ").join(filter(None, sentences))


def say_error(error: KdvizError | str) -> None:
    """Show what went wrong, as one sentence."""
    st.error(plain(error_text(error)), icon=":material/error:")


def say_missing(sentence: str, command: str = "") -> None:
    """Show a sentence about something that is missing, and the command that makes it."""
    st.info(plain(sentence), icon=":material/info:")
    if command:
        st.code(command, language=None, wrap_lines=True)


def about_sample(number: int, label: int, classes: Sequence[str]) -> str:
    """A sample's number and its true class, if that is known."""
    if label < 0:
        return _("Sample {number}, no label", number=number)
    return _("Sample {number}, true class {name}", number=number, name=classes[label])


def download(label: str, name: str, kind: str, make: Callable[[], str | bytes]) -> None:
    """Show a button that saves a file; ``make`` is called, in the page's language, when it is pressed."""
    page_language = language()

    def content() -> str | bytes:
        with speaking(page_language):
            return make()

    st.download_button(
        label, content, name, kind, on_click="ignore", key=f"download-{name}", icon=":material/download:"
    )


def download_parquet(label: str, name: str, make: Callable[[], pa.Table]) -> None:
    """Show a button that saves a table as a parquet file; ``make`` is called when it is pressed."""

    def content() -> bytes:
        buffer = io.BytesIO()
        pq.write_table(make(), buffer, compression="zstd")
        return buffer.getvalue()

    download(label, name, "application/vnd.apache.parquet", content)


def download_table(experiment: Experiment, table: str) -> None:
    """Show a button that saves a table of an experiment as a parquet file."""
    name = f"{table}.parquet"
    download_parquet(name, f"kdviz-{experiment.name}-{name}", lambda: experiment.table(table))


def picture_bytes(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
