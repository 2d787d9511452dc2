"""The texts of Streamlit and Plotly in the page's language; both come in English only."""

from __future__ import annotations

from typing import Any

from kdviz.core.language import ENGLISH, N_, _, language

_STREAMLIT = (
    N_("Skip to main content"),
    N_("App pages"),
    N_("Open"),
    N_("Close"),
    N_("Help"),
    N_("Help for {name}"),
    N_("Search"),
    N_("Fullscreen"),
    N_("Close fullscreen"),
    N_("Copy to clipboard"),
    N_("Link to heading"),
    N_("Copied"),
    N_("Show/hide columns"),
    N_("Download as CSV"),
    N_("Choose an option"),
    N_("Choose options"),
    N_("Selected values"),
    N_("Multiselect options"),
    N_("Selectbox options"),
    N_("No results"),
    N_("Select all"),
    N_("Clear all"),
    N_("Clear value"),
    N_("Remove {name}"),
    N_("Increment"),
    N_("Decrement"),
    N_("Upload"),
    N_("Upload directories"),
    N_("Add files"),
    N_("file upload"),
    N_("Drag and drop a file here"),
    N_("Drag and drop files here"),
    N_("Drag and drop directories here"),
    N_("{name} per file"),
    N_("Take Photo"),
    N_("Clear photo"),
    N_("Switch camera"),
    N_("This app would like to use your camera."),
    N_("Learn how to allow access."),
    N_("Uploading..."),
    N_("Running..."),
    N_("Stop"),
)
_PLOTLY = (
    N_("Download plot as a PNG"),
    N_("Zoom"),
    N_("Pan"),
    N_("Zoom in"),
    N_("Zoom out"),
    N_("Autoscale"),
    N_("Reset axes"),
    N_("Double-click to zoom back out"),
    N_("Double-click on legend to isolate one trace"),
    N_("Taking snapshot - this may take a few seconds"),
    N_("Snapshot succeeded"),
    N_("Sorry, there was a problem downloading your snapshot!"),
)


def streamlit_texts() -> dict[str, str]:
    """English text -> text in the page's language, for words.js; empty if the page is in English."""
    return {} if language() == ENGLISH else {text: _(text) for text in _STREAMLIT}


def plotly_locale() -> dict[str, Any]:
    """The locale of Plotly for the page's language."""
    return {"dictionary": {text: _(text) for text in _PLOTLY}}
