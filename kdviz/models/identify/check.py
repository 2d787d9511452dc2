"""How many networks are found from their tensors: each is built with fresh heads, and once with a tensor changed."""

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
"""Classes of the fresh heads."""

CHOSEN, RIVAL, WRONG, REFUSED = "chosen", "among the rivals", "taken for another", "refused"

_SIDE = 224


@dataclass(frozen=True)
class Trial:
    """One network's tensors, looked up.

    Attributes:
        network: Whose they are.
        classes: Of its head.
        outcome: ``CHOSEN``, ``RIVAL``, ``WRONG`` or ``REFUSED``.
        seconds: That the look-up took.
        text: What was said when it was refused, or what it was taken for.
    """

    network: str
    classes: int
    outcome: str
    seconds: float
    text: str


def trials(index: Index, networks: Iterable[str]) -> Iterator[tuple[Trial, str]]:
    """Each network with each head; and what its tensors are taken for when one of them has another shape, or nothing.

    Args:
        index: In which they are looked up.
        networks: Their names.
    """
    for network in networks:
        for classes in HEADS:
            shapes = shapes_of(
                lambda network=network, classes=classes: build_network(
                    network, classes=classes, channels=3, size=(_SIDE, _SIDE)
                )
            )
            yield _trial(index, network, classes, shapes), _changed(index, network, shapes)


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


def _changed(index: Index, network: str, shapes: Shapes) -> str:
    """What the tensors are taken for when a side of one of them, drawn by the network's name, is longer by one."""
    name = random.Random(network).choice([name for name, shape in shapes.items() if shape])
    changed: Mapping[str, tuple[int, ...]] = {**shapes, name: (shapes[name][0] + 1, *shapes[name][1:])}
    try:
        return f"{network} with a longer '{name}' is taken for {identify(changed, index=index).network}"
    except ModelError:
        return ""


def report(index: Index, networks: Sequence[str] = ()) -> str:
    """The trials of these networks, or of all in the index, as text.

    Args:
        index: In which they are looked up.
        networks: Default all.
    """
    results = list(trials(index, networks or index.by_name))
    lines = [_summary(library, [trial for trial, _ in results if trial.network.startswith(library)])
             for library in ("torchvision/", "timm/", "")]  # fmt: skip
    seconds = [trial.seconds for trial, _ in results]
    lines.append(f"look-up: median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s")
    mistaken = [text for _, text in results if text]
    lines.append(f"with one tensor changed: {len(results)} tried, {len(mistaken)} taken for a network")
    lines += mistaken
    lines += [
        f"{trial.network}, {trial.classes} classes: {trial.outcome}: {trial.text}"
        for trial, _ in results
        if trial.outcome in (WRONG, REFUSED)
    ]
    return "\n".join(lines)


def _summary(library: str, some: Sequence[Trial]) -> str:
    counts = Counter(trial.outcome for trial in some)
    share = (counts[CHOSEN] + counts[RIVAL]) / max(len(some), 1)
    listed = ", ".join(f"{counts[outcome]} {outcome}" for outcome in (CHOSEN, RIVAL, WRONG, REFUSED))
    return f"{library.rstrip('/') or 'all':<12} {len(some):5} tried, {share:.2%} found: {listed}"
