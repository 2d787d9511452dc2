"""Temperature: accuracy against the temperature of distillation, with its spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.analysis.studies import accuracy_by_temperature
from kdviz.ui import address, service
from kdviz.ui.shell import heading


def page() -> None:
    address.only()
    experiment = service.open_experiment("mnist").experiment
    heading(
        "Which temperature teaches best?",
        "Each point is a student distilled at one temperature; bars are the standard deviation over seeds. "
        "Measured on the official 10,000 test digits; nothing was chosen on them.",
    )
    table = experiment.table("temperature")
    rows = accuracy_by_temperature(table, "test")
    st.markdown(verdict(rows, accuracy_by_temperature(table, "validation")))
    st.plotly_chart(figures.accuracy_against_temperature(rows), key="temperature", config={"displaylogo": False})
    st.dataframe(_readable(rows), hide_index=True)
    st.caption(
        "Same as teacher: share of digits on which both give the same answer. Inherited: share of the teacher's own "
        "errors that the student repeats. ECE: expected calibration error, lower is better."
    )
    with st.container(horizontal=True):
        st.download_button(
            "All runs (CSV)",
            lambda: table.to_pandas().to_csv(index=False),
            "kdviz-temperature.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "Chart (HTML)",
            lambda: figures.accuracy_against_temperature(rows).to_html(),
            "kdviz-temperature.html",
            "text/html",
            on_click="ignore",
            icon=":material/download:",
        )


def verdict(rows: Sequence[Mapping[str, Any]], validation: Sequence[Mapping[str, Any]]) -> str:
    """What the study says, in words: the best temperature by validation, and whether the others differ from it."""
    points = {row["temperature"]: row for row in rows if row["temperature"] is not None}
    alone = next((row for row in rows if row["role"] == "student"), None)
    chosen = max((row for row in validation if row["temperature"] is not None), key=lambda row: row["accuracy"])
    best = points[chosen["temperature"]]
    text = (
        f"By validation the best temperature is **T = {best['temperature']:g}**; on the test digits it gives "
        f"**{best['accuracy']:.2%}**"
    )
    if alone:
        gain = best["accuracy"] - alone["accuracy"]
        text += f", {gain * 100:+.2f} points against the student alone ({alone['accuracy']:.2%})"
    # Two means over n seeds differ by more than chance about when the gap exceeds two standard errors.
    close = [
        f"{temperature:g}"
        for temperature, row in points.items()
        if temperature != best["temperature"] and not _apart(best, row)
    ]
    if close:
        text += f". With {best['seeds']} seeds, T = {', '.join(close)} cannot be told from it"
    return text + "."


def _apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    variance = sum((row["accuracy_sd"] or 0.0) ** 2 / row["seeds"] for row in (first, second))
    return abs(first["accuracy"] - second["accuracy"]) > 2 * variance**0.5


def _readable(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": [figures.role_title(row["role"]) for row in rows],
            "T": ["" if row["temperature"] is None else f"{row['temperature']:g}" for row in rows],
            "Seeds": [row["seeds"] for row in rows],
            "Accuracy": [f"{row['accuracy']:.2%}" for row in rows],
            "Spread": ["" if row["accuracy_sd"] is None else f"± {row['accuracy_sd']:.2%}" for row in rows],
            "Same as teacher": [_share(row["same_as_teacher"]) for row in rows],
            "Inherited": [_share(row["inherited_errors"]) for row in rows],
            "ECE": [f"{row['ece']:.4f}" for row in rows],
        }
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
