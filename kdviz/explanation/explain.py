"""Saliency maps of one picture by all models of an experiment, with the same masks."""

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
from kdviz.core.errors import KdvizError, ModelError, Sentence, SettingError, UnknownNameError
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
        roles: Roles of the models; default: all.
        device: A torch device, or ``auto``: the GPU when there is one.
        settings: Settings of the method: ``n_masks``, ``grid``, ``probability``, ``baseline``, ``estimator``, ``seed``
            and the others that ``kdviz list methods`` names.

    Warns:
        UserWarning: The method does not fit a model, which is left out; with ``roles`` that is an error. Or a map says
            little, for the reason in its ``doubts``.

    Raises:
        KdvizError: The picture, the class, the method or a setting is not acceptable.
    """
    states = explain_stream(experiment, image, target, method, roles=roles, device=device, **settings)
    last = deque(states, maxlen=1).pop()  # the stream yields at least once
    maps = last.maps()
    for reason in [
        *last.incompatible.values(),
        *(doubt.text for saliency_map in maps.values() for doubt in saliency_map.doubts),
    ]:
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
    """Like :func:`explain`, as a stream: a state after each chunk of masks. It can be stopped at any state."""
    all_settings = methods[method].complete(settings)
    runs, unknown = _runs(experiment, roles)
    device = choose_device(device) if isinstance(device, str) else device
    picture = experiment.prepare(image)
    inputs = experiment.preprocess(picture).to(device)
    models = {role: run.on(device) for role, run in runs.items()}
    baseline = _baseline(experiment, all_settings, picture).to(device)
    probe_images = probes(inputs, baseline)
    logits = {role: _logits(role, runs[role], model, probe_images) for role, model in models.items()}
    if "baseline" in all_settings:
        check_baseline(inputs, baseline, experiment.input.std, all_settings["baseline"])
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
    yield from (
        _by_captum(task, all_settings, strict=bool(roles)) if methods[method].compute else _by_rise(task, all_settings)
    )


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
        **results: Any,
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
            **results,
        )


def _baseline(experiment: Experiment, settings: dict[str, Any], picture: Image.Image) -> torch.Tensor:
    baseline = settings.get("baseline", "black")
    if isinstance(baseline, Image.Image):  # settings must be data that can be written to a file
        settings["baseline"] = f"picture {hashlib.sha256(baseline.tobytes()).hexdigest()[:8]}"
    return experiment.baseline(baseline, picture, settings.get("seed", 0))


def _by_rise(task: _ExplainTask, settings: dict[str, Any]) -> Iterator[ExplainState]:
    """Yield a state after each chunk of masks."""
    size = (task.inputs.shape[-2], task.inputs.shape[-1])
    rise_settings = _rise_settings(settings)
    masks = masks_for(size, rise_settings)
    settings["sampler"] = masks.kind
    models = {role: ModelWithActivation(model, softmax) for role, model in task.models.items()}
    stop = StoppingRule(masks, rise_settings.estimator, rise_settings.reliability, rise_settings.seconds, compared=True)
    stream = stream_scores(
        models,
        task.inputs,
        task.baseline,
        masks,
        rise_settings.n_masks,
        rise_settings.estimator,
        rise_settings.precision,
    )
    for states in stream:
        n_masks = next(iter(states.values())).n_masks
        if n_masks < MINIMUM_MASKS:
            continue
        stopped = stop.reason(target_scores(states, task.targets), n_masks)
        if stopped:
            reason, count = stopped
            states = {role: state.first(count) for role, state in states.items()}
            yield task.state(count, rise_settings.n_masks, settings, states=states, stopped=reason)
            return
        yield task.state(n_masks, rise_settings.n_masks, settings, states=states)


def _rise_settings(settings: Mapping[str, Any]) -> RISESettings:
    """The settings of the method for the engine: in the registry 0 stands for no limit."""
    names = {setting.name for setting in fields(RISESettings)}
    rise_settings = RISESettings(**{name: value for name, value in settings.items() if name in names})
    return replace(rise_settings, reliability=rise_settings.reliability or None, seconds=rise_settings.seconds or None)


def _by_captum(task: _ExplainTask, settings: dict[str, Any], strict: bool) -> Iterator[ExplainState]:
    """Yield a state after each model. Unless ``strict``, models that it does not fit are left out with a reason.

    Raises:
        SettingError: The method fits no model, or with ``strict`` not all of them.
    """
    ready: dict[str, SaliencyMap] = {}
    incompatible: dict[str, str] = {}
    for number, (role, model) in enumerate(task.models.items(), 1):
        try:
            attribution = attribute(task.method, model, task.inputs, task.baseline, task.targets[role], settings)
        except SettingError as error:
            if strict:
                raise
            incompatible[role] = error.sentence
        else:
            ready[role] = SaliencyMap(
                role=role,
                target=task.targets[role],
                values=attribution.map.cpu().numpy(),
                standard_error=attribution.standard_error.cpu().numpy(),
                halves=attribution.halves.cpu().numpy(),
                probabilities=task.probabilities[role],
                picture=task.picture,
                classes=task.classes,
                n_masks=0,
                method=task.method,
                settings=settings,
                doubts=(*task.doubts[role], *_doubts_of_map(task, role, attribution.map.cpu().numpy())),
            )
        if ready:
            yield task.state(number, len(task.models), settings, ready=dict(ready), incompatible=incompatible)
    if not ready:
        raise SettingError(next(iter(incompatible.values())))


def _doubts_of_map(task: _ExplainTask, role: str, values: np.ndarray) -> tuple[MapDoubt, ...]:
    return (MapDoubt("flat", role, {"class": task.classes[task.targets[role]]}),) if is_flat(values) else ()


def _runs(experiment: Experiment, roles: list[str] | None) -> tuple[dict[str, Run], dict[str, Sentence]]:
    """The runs to explain, and for runs without a model that were not named in ``roles``, the reason.

    Raises:
        UnknownNameError: There is no such role.
        ModelError: A run in ``roles`` has no model, or no run has one.
    """
    for role in roles or ():
        if role not in experiment.runs:
            raise UnknownNameError("role", role, experiment.runs)
    runs = {role: run for role, run in experiment.runs.items() if not roles or role in roles}
    models = {role: run for role, run in runs.items() if run.has_model}
    unknown = {role: only_predictions(role) for role in runs if role not in models}
    if unknown and (roles or not models):
        raise ModelError(next(iter(unknown.values())))
    return models, unknown


@torch.inference_mode()
def _logits(role: str, run: Run, model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits (n, classes) of the picture, the first of ``images``, and of the others for an unknown kind of scores.

    A network built by name returns logits. An imported model may return any kind of scores.
    """
    batches = [images[:1]] if run.weights and run.network != ONNX else [images[:1], images[1:]]
    outputs = []
    for inputs in batches:
        try:
            outputs.append(model(inputs).float())
        except KdvizError:
            raise
        except Exception as error:
            first_line = str(error).strip().partition("\n")[0]
            raise ModelError(
                "The model '{role}' failed on a batch of shape {shape}: {reason}",
                role=role,
                shape=tuple(inputs.shape),
                reason=first_line,
            ) from error
    if len({output.shape[1:] for output in outputs}) > 1:
        raise ModelError(
            "The model '{role}' returned another number of scores for another number of pictures.", role=role
        )
    check_logits(role, torch.cat(outputs))
    return torch.cat(outputs)


def _targets(
    experiment: Experiment, target: int | str | Mapping[str, int | str] | None, probabilities: Mapping[str, np.ndarray]
) -> dict[str, int]:
    predicted = {role: int(row.argmax()) for role, row in probabilities.items()}
    if target is None:
        return predicted
    if isinstance(target, Mapping):
        chosen = {role: experiment.class_index(name) for role, name in target.items() if role in predicted}
        return predicted | chosen
    return dict.fromkeys(predicted, experiment.class_index(target))
