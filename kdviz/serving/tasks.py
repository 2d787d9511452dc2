"""What can be computed: a task is data that can be sent, and says how it is done where the models are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from kdviz.core.devices import choose_device
from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.metrics import Faithfulness, faithfulness_of_maps, trivial_map
from kdviz.rise.states import softmax
from kdviz.saliency import ExplainState, explain_stream

TEACHER = "teacher"
TRIVIAL = "trivial"
Target = int | str | None | tuple[tuple[str, int], ...]
Opener = Callable[[str, str], Experiment]
"""(folder, fingerprint) -> the experiment, loaded once for all tasks."""


class Task(Protocol):
    """A computation. It yields (place, state): the newest state of each of its parts, the parts one after the other."""

    def states(self, opened: Opener) -> Iterator[tuple[int, Any]]: ...


def fingerprint(experiment: Experiment) -> str:
    """Changes when a model does, or what it is given."""
    models = [
        (role, run.network, run.sha256, run.spec, run.n_classes, run.class_order, sorted(run.settings.items()))
        for role, run in experiment.runs.items()
    ]
    return hashlib.sha256(repr((models, experiment.input, experiment.classes)).encode()).hexdigest()


@dataclass(frozen=True)
class MapsTask:
    """Maps of one prepared picture, once for each of ``rows`` of settings.

    Attributes:
        folder, fingerprint: Of the experiment.
        picture: As :meth:`Experiment.prepare` gives it.
        rows: Settings, complete, and the method's name as ``method``.
        roles: Which models.
        target: The class explained, where it matters before the end: for methods that explain one class, and for
            stopping when maps have settled. An index, ``teacher`` for the teacher's prediction, None for each
            model's own, or (role, index) for each.
    """

    folder: str
    fingerprint: str
    picture: Image.Image
    rows: tuple[Mapping[str, Any], ...]
    roles: tuple[str, ...]
    target: Target = TEACHER

    def states(self, opened: Opener) -> Iterator[tuple[int, ExplainState]]:
        """(Number of the row, state)."""
        experiment = opened(self.folder, self.fingerprint)
        chosen = replace(experiment, runs={role: experiment.runs[role] for role in self.roles})
        target = self._target(experiment)
        for index, row in enumerate(self.rows):
            settings = {name: value for name, value in row.items() if name != "method"}
            for state in explain_stream(chosen, self.picture, target, row["method"], **settings):
                yield index, _compact(state)

    def _target(self, experiment: Experiment) -> int | dict[str, int] | None:
        if isinstance(self.target, tuple):
            return dict(self.target)
        if self.target != TEACHER:
            return self.target if isinstance(self.target, int) else None
        if TEACHER not in experiment.models:
            return None
        inputs = experiment.preprocess(self.picture).to(choose_device("auto"))
        teacher = experiment.runs[TEACHER].on(inputs.device)  # made outside: inference tensors have no gradients
        with torch.inference_mode():
            return int(teacher(inputs)[0].argmax())


def _compact(state: ExplainState) -> ExplainState:
    """Without the room for scores to come, which would be sent too."""
    scores = {role: replace(one, scores=one.scores.cpu().clone()) for role, one in state.states.items()}
    return replace(state, states=scores)


@dataclass(frozen=True)
class FaithfulnessTask:
    """Deletion and insertion curves of each model's map, and of a map that knows no model.

    Attributes:
        folder, fingerprint, picture: As in :class:`MapsTask`.
        maps: Role -> map, float32 (H, W).
        targets: Role -> the class that its map explains.
        baseline: What a removed pixel becomes.
        seed: Of the order of equal pixels.
    """

    folder: str
    fingerprint: str
    picture: Image.Image
    maps: Mapping[str, np.ndarray]
    targets: Mapping[str, int]
    baseline: Any = "black"
    seed: int = 0

    def states(self, opened: Opener) -> Iterator[tuple[int, tuple[str, dict[str, Faithfulness]]]]:
        """(Number of the model, (its role, curves of its map as ``map`` and of the blurred picture as ``trivial``))."""
        experiment = opened(self.folder, self.fingerprint)
        inputs = experiment.preprocess(self.picture).to(choose_device("auto"))
        base = experiment.baseline(self.baseline, self.picture, self.seed).to(inputs.device)
        for index, (role, values) in enumerate(self.maps.items()):
            model = experiment.runs[role].on(inputs.device)
            maps = {"map": values, TRIVIAL: trivial_map(inputs)}
            yield (
                index,
                (
                    role,
                    faithfulness_of_maps(
                        lambda batch, model=model: softmax(model(batch).float()),
                        inputs,
                        maps,
                        self.targets[role],
                        base,
                        seed=self.seed,
                    ),
                ),
            )


def check_fingerprint(experiment: Experiment, wanted: str) -> Experiment:
    """The experiment, if it is the one that the page shows.

    Raises:
        ExperimentError: Its files have changed since.
    """
    if fingerprint(experiment) != wanted:
        raise ExperimentError("The experiment's files have changed since this page was opened; reload the page.")
    return experiment
