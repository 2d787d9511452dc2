"""Rows of the tables of a search whose figures are known."""

from __future__ import annotations

from typing import Any

import numpy as np

SAMPLES = 400
SETTINGS = {
    "temperature": 4.0,
    "alpha": 0.5,
    "kd_loss": "soft_targets",
    "learning_rate": 1e-3,
    "epochs": 3,
    "width": 1.0,
}
ABOUT = {"objectives": ["accuracy"], "importance": {"temperature": 0.7, "alpha": 0.3}, "prunes": True}


def trial(number: int, accuracy: float | None = 0.9, state: str = "complete", **more: Any) -> dict[str, Any]:
    own = {"temperature": 2.0 + number, "alpha": 0.1 + 0.05 * number}
    figures = {"accuracy": accuracy, "seconds": 10.0, "front": False, "reason": None}
    figures |= {"mflop": None, "latency": None, "agreement": None, "inherited": None}
    return {"trial": number, "state": state, "run": f"r{number}", "seed": 0, **SETTINGS, **own, **figures, **more}


def trials() -> list[dict[str, Any]]:
    """Ten trials, of which number 3 won, and 8 was stopped and 9 failed."""
    complete = [trial(number, 0.9 + 0.002 * (number == 3), front=number == 3) for number in range(8)]
    return [*complete, trial(8, 0.8, "pruned"), trial(9, None, "failed", reason="it diverged", seconds=None)]


def final(candidate: str, right: int, settings: dict[str, Any], seeds: tuple[int, ...] = (101, 102, 103)) -> list[dict]:
    """Runs of a candidate of which the first ``right`` test samples are right."""
    bits = np.arange(SAMPLES) < right
    names = SETTINGS.keys()
    more = {"samples": SAMPLES, "accuracy": float(bits.mean()), "right": np.packbits(bits).tobytes(), "seconds": 20.0}
    row = {"candidate": candidate, "chosen_by": None, "validation": 0.89, **{name: settings[name] for name in names}}
    return [{**row, **more, "run": f"{candidate}{seed}", "seed": seed} for seed in seeds]
