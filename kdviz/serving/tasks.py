"""The computations of a worker: a task is data that can be sent to it, and computes its states there."""

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
from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment
from kdviz.metrics import Faithfulness, faithfulness_of_maps, trivial_map
from kdviz.rise.states import softmax
from kdviz.saliency import ExplainState, explain_stream

TEACHER = Role.TEACHER
TRIVIAL = "trivial"
Target = int | str | None | tuple[tuple[str, int], ...]
Opener = Callable[[str, str], Experiment]
"""(folder, fingerprint) -> the experiment, which is loaded once for all tasks."""


class Task(Protocol):
    """A computation, which yields (index, state) pairs: the newest state of each of its parts, part after part."""

    def states(self, opened: Opener) -> Iterator[tuple[int, Any]]: ...


def fingerprint(experiment: Experiment) -> str:
    """A hash of an experiment's models and their inputs."""
    models = [
        (str(role), run.network, run.sha256, run.spec, run.n_classes, run.class_order, sorted(run.settings.items()))
        for role, run in experiment.runs.items()
    ]
    return hashlib.sha256(repr((models, experiment.input, experiment.classes)).encode()).hexdigest()


@dataclass(frozen=True)
class MapsTask:
    """Maps of one prepared picture, for each of several settings.

    Attributes:
        folder, fingerprint: Folder and fingerprint of the experiment.
        picture: The picture as :meth:`Experiment.prepare` returns it.
        rows: Complete settings, each with the method's name as ``method``.
        roles: Roles of the models.
        target: The explained class, for methods that explain one class and for stopping when maps have settled. An
            index, ``teacher`` for the teacher's prediction, None for each model's own, or (role, index) for each.
    """

    folder: str
    fingerprint: str
    picture: Image.Image
    rows: tuple[Mapping[str, Any], ...]
    roles: tuple[str, ...]
    target: Target = TEACHER

    def states(self, opened: Opener) -> Iterator[tuple[int, ExplainState]]:
        """(Index of the row, state) pairs."""
        experiment = opened(self.folder, self.fingerprint)
        with_roles = replace(experiment, runs={role: experiment.runs[role] for role in self.roles})
        target = self._target(experiment)
        for index, row in enumerate(self.rows):
            settings = {name: value for name, value in row.items() if name != "method"}
            for state in explain_stream(with_roles, self.picture, target, row["method"], **settings):
                yield index, _without_spare_scores(state)

    def _target(self, experiment: Experiment) -> int | dict[str, int] | None:
        if isinstance(self.target, tuple):
            return dict(self.target)
        if self.target != TEACHER:
            return self.target if isinstance(self.target, int) else None
        if TEACHER not in experiment.models:
            return None
        inputs = experiment.preprocess(self.picture).to(choose_device("auto"))
        # Outside of inference mode, whose tensors have no gradients.
        teacher = experiment.runs[TEACHER].on(inputs.device)
        with torch.inference_mode():
            return int(teacher(inputs)[0].argmax())


def _without_spare_scores(state: ExplainState) -> ExplainState:
    """The state without the memory reserved for further scores, which would be sent, too."""
    scores = {
        role: replace(state_of_model, scores=state_of_model.scores.cpu().clone())
        for role, state_of_model in state.states.items()
    }
    return replace(state, states=scores)


@dataclass(frozen=True)
class FaithfulnessTask:
    """Deletion and insertion curves of each model's map, and of a trivial map that depends on no model.

    Attributes:
        folder, fingerprint, picture: As in :class:`MapsTask`.
        maps: Role -> map, float32 (H, W).
        targets: Role -> the class that its map explains.
        baseline: What a removed pixel becomes.
        seed: Seed of the order of equal pixels.
    """

    folder: str
    fingerprint: str
    picture: Image.Image
    maps: Mapping[str, np.ndarray]
    targets: Mapping[str, int]
    baseline: Any = "black"
    seed: int = 0

    def states(self, opened: Opener) -> Iterator[tuple[int, tuple[str, dict[str, Faithfulness]]]]:
        """(Index of the model, (its role, curves)) pairs; the curves are of its map, ``map``, and of ``trivial``."""
        experiment = opened(self.folder, self.fingerprint)
        inputs = experiment.preprocess(self.picture).to(choose_device("auto"))
        baseline = experiment.baseline(self.baseline, self.picture, self.seed).to(inputs.device)
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
                        baseline,
                        seed=self.seed,
                    ),
                ),
            )


def check_fingerprint(experiment: Experiment, expected: str) -> Experiment:
    """The experiment, after checking that it is the one that the page shows.

    Raises:
        ExperimentError: Its files have changed since the page was opened.
    """
    if fingerprint(experiment) != expected:
        raise ExperimentError("The experiment's files have changed since this page was opened; reload the page.")
    return experiment
