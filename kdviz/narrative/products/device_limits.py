"""How far a model is from what a device's processor could do (a roofline; Williams et al., 2009), in words."""

from __future__ import annotations

from kdviz.compress.cost import CostEntry, CostReport
from kdviz.core.language import _, number
from kdviz.narrative.tradeoffs import milliseconds, title


def device_limits(report: CostReport) -> list[str]:
    """A sentence for each float32 model whose limits were measured with it, on the report's machine.

    The least time of a picture is the larger of two: its operations at the processor's best speed of multiplying, and
    its weights at the best speed of reading them.
    """
    return [_sentence(entry) for entry in report.entries if _limit(entry)]


def _limit(entry: CostEntry) -> float:
    """The least milliseconds for one picture; 0 if it is not known."""
    limits = [entry.row.get(name) or 0.0 for name in ("arithmetic_ms", "reading_ms")]
    return max(limits) if all(limits) and "latency" in entry.costs else 0.0


def _sentence(entry: CostEntry) -> str:
    least, time = _limit(entry), entry.costs["latency"]
    values = {
        "model": title(entry),
        "time": milliseconds(time),
        "least": milliseconds(least),
        "times": number(time / least, 1),
    }
    if entry.row["arithmetic_ms"] >= entry.row["reading_ms"]:
        return _(
            "Of {model}, one picture takes {time} ms, {times} times the {least} ms that this processor needs at least "
            "for the arithmetic.",
            **values,
        )
    return _(
        "Of {model}, one picture takes {time} ms, {times} times the {least} ms that this processor needs at least to "
        "read the weights.",
        **values,
    )
