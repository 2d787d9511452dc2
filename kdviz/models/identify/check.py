"""Measure how many networks are identified: each is built with fresh heads, and tried once with one tensor changed."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kdviz.core.errors import ModelError
from kdviz.models.identify.index import Index
from kdviz.models.identify.matching import identify
from kdviz.models.identify.outlines import Shapes, shapes_of
from kdviz.models.networks import build_network

HEADS = (2, 1000)
"""Numbers of classes of the fresh heads."""

CHOSEN, RIVAL, WRONG, REFUSED = "chosen", "among the rivals", "taken for another", "refused"

_SIDE = 224


@dataclass(frozen=True)
class Trial:
    """Result of identifying one network from its tensors.

    Attributes:
        network: Name of the network.
        classes: Number of classes of its head.
        outcome: ``CHOSEN``, ``RIVAL``, ``WRONG`` or ``REFUSED``.
        seconds: Duration of the look-up.
        text: The error when it was refused, else what it was identified as.
    """

    network: str
    classes: int
    outcome: str
    seconds: float
    text: str


def trials(index: Index, networks: Iterable[str]) -> Iterator[tuple[Trial, str]]:
    """Try each network with each head; with it, what the network is mistaken for when one tensor is changed, or "".

    Args:
        index: The index in which networks are looked up.
        networks: Names of the networks.
    """
    for network in networks:
        for classes in HEADS:
            shapes = shapes_of(
                lambda network=network, classes=classes: build_network(
                    network, classes=classes, channels=3, size=(_SIDE, _SIDE)
                )
            )
            yield _trial(index, network, classes, shapes), _mistaken_match(index, network, shapes)


def _trial(index: Index, network: str, classes: int, shapes: Shapes) -> Trial:
    start = time.perf_counter()
    try:
        match = identify(shapes, index=index)
    except ModelError as error:
        return Trial(network, classes, REFUSED, time.perf_counter() - start, str(error))
    seconds = time.perf_counter() - start
    outcome = CHOSEN if match.network == network else RIVAL if network in match.rivals else WRONG
    if match.classes != classes or match.channels != 3:
        outcome = WRONG
    return Trial(network, classes, outcome, seconds, f"{match.network}, {match.classes} classes")


def _mistaken_match(index: Index, network: str, shapes: Shapes) -> str:
    """What the tensors are mistaken for when a side of one, drawn by the network's name, is longer by one."""
    name = random.Random(network).choice([name for name, shape in shapes.items() if shape])
    changed: Mapping[str, tuple[int, ...]] = {**shapes, name: (shapes[name][0] + 1, *shapes[name][1:])}
    try:
        return f"{network} with a longer '{name}' is taken for {identify(changed, index=index).network}"
    except ModelError:
        return ""


def report(index: Index, networks: Sequence[str] = ()) -> str:
    """A text that sums up the trials of some networks, or of all in the index.

    Args:
        index: The index in which networks are looked up.
        networks: Names of the networks; default: all.
    """
    results = list(trials(index, networks or index.by_name))
    lines = [_summary(library, [trial for trial, _ in results if trial.network.startswith(library)])
             for library in ("torchvision/", "timm/", "")]  # fmt: skip
    seconds = [trial.seconds for trial, _ in results]
    lines.append(f"look-up: median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s")
    mistakes = [text for _, text in results if text]
    lines.append(f"with one tensor changed: {len(results)} tried, {len(mistakes)} taken for a network")
    lines += mistakes
    lines += [
        f"{trial.network}, {trial.classes} classes: {trial.outcome}: {trial.text}"
        for trial, _ in results
        if trial.outcome in (WRONG, REFUSED)
    ]
    return "\n".join(lines)


def _summary(library: str, results: Sequence[Trial]) -> str:
    counts = Counter(trial.outcome for trial in results)
    share = (counts[CHOSEN] + counts[RIVAL]) / max(len(results), 1)
    outcomes = ", ".join(f"{counts[outcome]} {outcome}" for outcome in (CHOSEN, RIVAL, WRONG, REFUSED))
    return f"{library.rstrip('/') or 'all':<12} {len(results):5} tried, {share:.2%} found: {outcomes}"
