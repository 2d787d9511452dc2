"""Text on a page that comes from a user, a file or an error: shown as it is."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence

import streamlit as st
from PIL import Image

from kdviz.core.errors import KdvizError
from kdviz.core.language import _, error_text, language, speaking

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:^&])")


def plain(text: str) -> str:
    """Text from a user or a file for places that read Markdown: nothing in it has a meaning."""
    return _MARKDOWN.sub(r"\\\1", text)


def together(sentences: Iterable[str]) -> str:
    """Sentences one after another; Chinese has no space between them."""
    return ("" if language().startswith("zh") else " ").join(filter(None, sentences))


def say_error(error: KdvizError | str) -> None:
    """Show what went wrong, as one sentence."""
    st.error(plain(error_text(str(error))), icon=":material/error:")


def say_missing(sentence: str, command: str = "") -> None:
    """Show what is not there yet, and the command that makes it."""
    st.info(plain(sentence), icon=":material/info:")
    if command:
        st.code(command, language=None, wrap_lines=True)


def about_sample(number: int, label: int, classes: Sequence[str]) -> str:
    """Which sample it is, and its true class where that is known."""
    if label < 0:
        return _("Sample {number}, no label", number=number)
    return _("Sample {number}, true class {name}", number=number, name=classes[label])


def download(label: str, name: str, kind: str, make: Callable[[], str | bytes]) -> None:
    """A button that saves a file; ``make`` is called, in the page's language, when it is pressed."""
    spoken = language()

    def content() -> str | bytes:
        with speaking(spoken):
            return make()

    st.download_button(
        label, content, name, kind, on_click="ignore", key=f"download-{name}", icon=":material/download:"
    )


def picture_bytes(picture: Image.Image) -> bytes:
    """As a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
