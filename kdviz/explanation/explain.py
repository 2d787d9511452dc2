"""Explain one picture by all models of an experiment, with the same masks."""

from __future__ import annotations

import hashlib
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from kdviz.core.devices import choose_device
from kdviz.core.errors import KdvizError, ModelError, SettingError, UnknownNameError
from kdviz.experiment import Experiment, Run
from kdviz.experiment.run import only_predictions
from kdviz.explanation.captum.attribution import attribute
from kdviz.explanation.explain_state import ExplainState, target_scores
from kdviz.explanation.methods import methods
from kdviz.explanation.notebook import Maps
from kdviz.explanation.saliency_map import SaliencyMap
from kdviz.explanation.scores import MapDoubt, check_baseline, check_logits, doubts_of_logits, is_flat, probes
from kdviz.models.networks import ONNX
from kdviz.rise.masks import masks_for
from kdviz.rise.settings import MINIMUM_MASKS, RISESettings
from kdviz.rise.states import ModelWithActivation, softmax
from kdviz.rise.stopping import StoppingRule
from kdviz.rise.streaming import stream_scores


def explain(
    experiment: Experiment,
    image: Image.Image | str | Path,
    target: int | str | Mapping[str, int | str] | None = None,
    method: str = "rise",
    *,
    roles: list[str] | None = None,
    device: str | torch.device = "auto",
    **settings: Any,
) -> dict[str, SaliencyMap]:
    """Saliency maps of one picture by the models of an experiment: role -> map.

    Args:
        experiment: See :func:`kdviz.load_experiment`.
        image: A picture or its path.
        target: The class to explain, by index or name, for all models or as a mapping from role to class;
            None: each model's own prediction.
        method: A name in ``methods``.
        roles: Which models; default all.
        device: A torch device, or ``auto``: the GPU when there is one.
        settings: Of the method: ``n_masks``, ``grid``, ``probability``, ``baseline``, ``estimator``, ``seed`` and the
            others that ``kdviz list methods`` names.

    Warns:
        UserWarning: The method does not fit a model, which is left out; with ``roles`` that is an error. Or a map says
            little, for the reason in its ``doubts``.

    Raises:
        KdvizError: The picture, the class, the method or a setting is not acceptable.
    """
    states = explain_stream(experiment, image, target, method, roles=roles, device=device, **settings)
    last = deque(states, maxlen=1).pop()  # the stream yields at least once
    maps = last.maps()
    for reason in [*last.incompatible.values(), *(doubt.text for made in maps.values() for doubt in made.doubts)]:
        warnings.warn(reason, stacklevel=2)
    return Maps(maps)


def explain_stream(
    experiment: Experiment,
    image: Image.Image | str | Path,
    target: int | str | Mapping[str, int | str] | None = None,
    method: str = "rise",
    *,
    roles: list[str] | None = None,
    device: str | torch.device = "auto",
    **settings: Any,
) -> Iterator[ExplainState]:
    """The same, as it comes: a state after each chunk of masks. Stop by not asking for the next."""
    chosen = methods[method].complete(settings)
    runs, unknown = _runs(experiment, roles)
    device = choose_device(device) if isinstance(device, str) else device
    picture = experiment.prepare(image)
    inputs = experiment.preprocess(picture).to(device)
    models = {role: run.on(device) for role, run in runs.items()}
    baseline = _baseline(experiment, chosen, picture).to(device)
    shown = probes(inputs, baseline)
    logits = {role: _logits(role, runs[role], model, shown) for role, model in models.items()}
    if "baseline" in chosen:
        check_baseline(inputs, baseline, experiment.input.std, chosen["baseline"])
    probabilities = {role: rows.softmax(1)[0].cpu().numpy() for role, rows in logits.items()}
    task = _ExplainTask(
        method,
        models,
        inputs,
        baseline,
        _targets(experiment, target, probabilities),
        probabilities,
        np.asarray(picture),
        experiment.classes,
        {
            role: doubts_of_logits(role, rows, getattr(models[role], "undoes_sigmoid", False))
            for role, rows in logits.items()
        },
        unknown,
    )
    yield from _by_captum(task, chosen, strict=bool(roles)) if methods[method].compute else _by_rise(task, chosen)


@dataclass(frozen=True)
class _ExplainTask:
    """One picture and the models that are to explain it."""

    method: str
    models: Mapping[str, torch.nn.Module]
    inputs: torch.Tensor
    baseline: torch.Tensor
    targets: Mapping[str, int]
    probabilities: Mapping[str, np.ndarray]
    picture: np.ndarray
    classes: tuple[str, ...]
    doubts: Mapping[str, tuple[MapDoubt, ...]]
    unknown: Mapping[str, str] = field(default_factory=dict)  # role -> why there is no model

    def state(
        self,
        n_masks: int,
        total: int,
        settings: Mapping[str, Any],
        *,
        incompatible: Mapping[str, str] | None = None,
        **more: Any,
    ) -> ExplainState:
        return ExplainState(
            n_masks=n_masks,
            total=total,
            probabilities=self.probabilities,
            targets=self.targets,
            picture=self.picture,
            classes=self.classes,
            settings=settings,
            method=self.method,
            doubts=self.doubts,
            incompatible={**self.unknown, **(incompatible or {})},
            **more,
        )


def _baseline(experiment: Experiment, settings: dict[str, Any], picture: Image.Image) -> torch.Tensor:
    what = settings.get("baseline", "black")
    if isinstance(what, Image.Image):  # settings are data that can be written down
        settings["baseline"] = f"picture {hashlib.sha256(what.tobytes()).hexdigest()[:8]}"
    return experiment.baseline(what, picture, settings.get("seed", 0))


def _by_rise(task: _ExplainTask, settings: dict[str, Any]) -> Iterator[ExplainState]:
    """A state after each chunk of masks."""
    size = (task.inputs.shape[-2], task.inputs.shape[-1])
    chosen = _rise_settings(settings)
    masks = masks_for(size, chosen)
    settings["sampler"] = masks.kind
    explained = {role: ModelWithActivation(model, softmax) for role, model in task.models.items()}
    stop = StoppingRule(masks, chosen.estimator, chosen.reliability, chosen.seconds, compared=True)
    stream = stream_scores(
        explained, task.inputs, task.baseline, masks, chosen.n_masks, chosen.estimator, chosen.precision
    )
    for states in stream:
        done = next(iter(states.values())).n_masks
        if done < MINIMUM_MASKS:
            continue
        ended = stop.reason(target_scores(states, task.targets), done)
        if ended:
            reason, count = ended
            states = {role: state.first(count) for role, state in states.items()}
            yield task.state(count, chosen.n_masks, settings, states=states, stopped=reason)
            return
        yield task.state(done, chosen.n_masks, settings, states=states)


def _rise_settings(settings: Mapping[str, Any]) -> RISESettings:
    """The settings of the method as the engine takes them: in the registry 0 stands for no limit."""
    known = {setting.name for setting in fields(RISESettings)}
    chosen = RISESettings(**{name: value for name, value in settings.items() if name in known})
    return replace(chosen, reliability=chosen.reliability or None, seconds=chosen.seconds or None)


def _by_captum(task: _ExplainTask, settings: dict[str, Any], strict: bool) -> Iterator[ExplainState]:
    """A state after each model. Models that the method does not fit are left out, with the reason, unless ``strict``.

    Raises:
        SettingError: The method fits no model, or not one that was asked for.
    """
    ready: dict[str, SaliencyMap] = {}
    incompatible: dict[str, str] = {}
    for number, (role, model) in enumerate(task.models.items(), 1):
        try:
            made = attribute(task.method, model, task.inputs, task.baseline, task.targets[role], settings)
        except SettingError as error:
            if strict:
                raise
            incompatible[role] = str(error)
        else:
            ready[role] = SaliencyMap(
                role=role,
                target=task.targets[role],
                values=made.map.cpu().numpy(),
                standard_error=made.standard_error.cpu().numpy(),
                halves=made.halves.cpu().numpy(),
                probabilities=task.probabilities[role],
                picture=task.picture,
                classes=task.classes,
                n_masks=0,
                method=task.method,
                settings=settings,
                doubts=(*task.doubts[role], *_doubts_of_map(task, role, made.map.cpu().numpy())),
            )
        if ready:
            yield task.state(number, len(task.models), settings, ready=dict(ready), incompatible=incompatible)
    if not ready:
        raise SettingError(next(iter(incompatible.values())))


def _doubts_of_map(task: _ExplainTask, role: str, values: np.ndarray) -> tuple[MapDoubt, ...]:
    return (MapDoubt("flat", role, {"class": task.classes[task.targets[role]]}),) if is_flat(values) else ()


def _runs(experiment: Experiment, roles: list[str] | None) -> tuple[dict[str, Run], dict[str, str]]:
    """The runs to explain; and of those that have no model, unless they were asked for, the reason.

    Raises:
        UnknownNameError: There is no such role.
        ModelError: A run has no model, and was asked for or is the only kind.
    """
    for role in roles or ():
        if role not in experiment.runs:
            raise UnknownNameError("role", role, experiment.runs)
    chosen = {role: run for role, run in experiment.runs.items() if not roles or role in roles}
    models = {role: run for role, run in chosen.items() if run.has_model}
    unknown = {role: only_predictions(role) for role in chosen if role not in models}
    if unknown and (roles or not models):
        raise ModelError(next(iter(unknown.values())))
    return models, unknown


@torch.inference_mode()
def _logits(role: str, run: Run, model: torch.nn.Module, shown: torch.Tensor) -> torch.Tensor:
    """Logits (n, classes) of the picture, the first shown; and of the others if nobody knows what the model returns.

    A network by name ends with logits. A model that was brought along may end with anything.
    """
    parts = [shown[:1]] if run.weights and run.network != ONNX else [shown[:1], shown[1:]]
    outputs = []
    for inputs in parts:
        try:
            outputs.append(model(inputs).float())
        except KdvizError:
            raise
        except Exception as error:
            first_line = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"The model '{role}' failed on a batch of shape {tuple(inputs.shape)}: {first_line}"
            ) from error
    if len({output.shape[1:] for output in outputs}) > 1:
        raise ModelError(f"The model '{role}' returned another number of scores for another number of pictures.")
    check_logits(role, torch.cat(outputs))
    return torch.cat(outputs)


def _targets(
    experiment: Experiment, target: int | str | Mapping[str, int | str] | None, probabilities: Mapping[str, np.ndarray]
) -> dict[str, int]:
    predicted = {role: int(row.argmax()) for role, row in probabilities.items()}
    if target is None:
        return predicted
    if isinstance(target, Mapping):
        given = {role: experiment.class_index(name) for role, name in target.items() if role in predicted}
        return predicted | given
    return dict.fromkeys(predicted, experiment.class_index(target))
