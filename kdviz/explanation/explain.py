"""Explain one picture by all models of an experiment, with the same masks."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from kdviz.core.devices import choose_device
from kdviz.core.errors import KdvizError, ModelError, SettingError, UnknownNameError
from kdviz.experiment import Experiment, Run
from kdviz.experiment.run import only_predictions
from kdviz.explanation import captum_methods
from kdviz.explanation.methods import methods
from kdviz.explanation.notebook import Maps
from kdviz.explanation.scores import (
    MapDoubt,
    check_baseline,
    check_logits,
    doubts_of_logits,
    is_constant,
    is_flat,
    probes,
)
from kdviz.models.networks import ONNX
from kdviz.rise.attribution import Explained, RISEState, Stop, softmax, stream_scores
from kdviz.rise.estimators import MINIMUM_MASKS, estimate, jackknife_error, reliability
from kdviz.rise.masks import RandomMasks

_ABOUT_A_LEVEL = ("rise", "normalised")  # estimators whose map of a score that nothing changes is that score


@dataclass(frozen=True)
class SaliencyMap:
    """One model's map of one picture. It converts to an array: ``np.asarray(saliency_map)``.

    Attributes:
        role: Of the model.
        target: Index of the class explained.
        values: float32 (H, W): change of the class's probability when the pixel is kept (centred RISE).
        standard_error: float32 (H, W), of ``values``.
        halves: float32 (2, H, W): two independent estimates, from half of the masks each.
        left_out, halves_without: float32 (units, H, W): the map, and the half, without each unit of masks in turn;
            see :class:`kdviz.saliency.Estimate`. None for a method without masks.
        doubts: Why it says little, or perhaps not what is meant.
        probabilities: float32 (classes,), of the unmasked picture.
        picture: uint8 (H, W) or (H, W, 3): what the model saw.
        classes: Class names.
        n_masks: Masks used.
        method: Name of the method.
        settings: All of its settings.
    """

    role: str
    target: int
    values: np.ndarray
    standard_error: np.ndarray
    halves: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    picture: np.ndarray = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    n_masks: int
    method: str
    settings: Mapping[str, Any] = field(repr=False)
    left_out: np.ndarray | None = field(default=None, repr=False)
    halves_without: np.ndarray | None = field(default=None, repr=False)
    doubts: tuple[MapDoubt, ...] = field(default=(), repr=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def reliability(self) -> float:
        """Predicted correlation with the map of infinitely many masks, 0 to 1."""
        return float(reliability(torch.from_numpy(np.asarray(self.halves))))

    @property
    def is_flat(self) -> bool:
        """Whether it has one value, so that it is neither reliable nor like any other map."""
        return is_flat(self.values)

    @property
    def predicted(self) -> int:
        """Index of the class with the highest probability."""
        return int(self.probabilities.argmax())


@dataclass(frozen=True)
class Difference:
    """The difference of two models' maps of one picture, made with the same masks.

    Attributes:
        values: float32 (H, W).
        standard_error: float32 (H, W), of ``values``: exact about what the maps share, the noise of the same masks.
        reliability: Predicted correlation with the difference of infinitely many masks, 0 to 1.
    """

    values: np.ndarray
    standard_error: np.ndarray
    reliability: float


def difference(first: SaliencyMap, second: SaliencyMap) -> Difference:
    """``first`` minus ``second``, two maps from one call of :func:`kdviz.explain`.

    Raises:
        SettingError: The maps are of different pictures, or were not made in the same way with the same masks.
    """
    same_way = _how(first) == _how(second) and first.shape == second.shape
    if not same_way or not np.array_equal(first.picture, second.picture):
        raise SettingError("Only maps of one picture with the same settings can be subtracted; explain them together.")
    if first.left_out is None or second.left_out is None:
        error = np.hypot(first.standard_error, second.standard_error)
    else:
        error = jackknife_error(torch.from_numpy(first.left_out - second.left_out)).numpy()
    halves = torch.from_numpy(first.halves - second.halves)
    return Difference(first.values - second.values, error, float(reliability(halves)))


def _how(one: SaliencyMap) -> dict[str, Any]:
    return {**one.settings, "precision": None, "n_masks": one.n_masks, "method": one.method}


@dataclass(frozen=True)
class ExplainState:
    """What is known after ``n_masks`` of ``total`` masks. Maps of any class are computed when asked for.

    Attributes:
        n_masks, total: Masks done and asked for; of a method without masks, models.
        stopped: Why it ended before ``total``: ``settled`` or ``time``.
        states: Role -> scores, of RISE.
        ready: Role -> map, of a method without masks.
        misfits: Role -> why the method does not fit this model.
        doubts: Role -> what is to be said of its scores, whatever the map.
    """

    n_masks: int
    total: int
    probabilities: Mapping[str, np.ndarray] = field(repr=False)
    targets: Mapping[str, int]
    picture: np.ndarray = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    settings: Mapping[str, Any]
    method: str = "rise"
    stopped: str | None = None
    states: Mapping[str, RISEState] = field(default_factory=dict, repr=False)
    ready: Mapping[str, SaliencyMap] = field(default_factory=dict, repr=False)
    misfits: Mapping[str, str] = field(default_factory=dict)
    doubts: Mapping[str, tuple[MapDoubt, ...]] = field(default_factory=dict)

    def maps(self, targets: Mapping[str, int] | None = None) -> dict[str, SaliencyMap]:
        """Role -> map so far, of each model's target or of other ``targets`` (role -> class index).

        Only RISE knows every class; other methods' maps are those of their target.
        """
        wanted = {**self.targets, **(targets or {})}
        if not self.states:
            return dict(self.ready)
        masks = next(iter(self.states.values())).masks
        rows = _rows(self.states, wanted)
        result = estimate(masks, rows, self.settings["estimator"])
        constant = is_constant(rows)
        maps = {
            role: SaliencyMap(
                role=role,
                target=wanted[role],
                values=result.map[number].numpy(),
                standard_error=result.standard_error[number].numpy(),
                halves=result.halves[:, number].numpy(),
                left_out=result.left_out[:, number].numpy(),
                halves_without=result.halves_without[:, number].numpy(),
                probabilities=self.probabilities[role],
                picture=self.picture,
                classes=self.classes,
                n_masks=self.n_masks,
                method=self.method,
                settings={**self.settings, "precision": self.states[role].precision},
                doubts=self.doubts.get(role, ()),
            )
            for number, role in enumerate(self.states)
        }
        scores = {role: float(row[0]) for role, row, same in zip(maps, rows, constant, strict=True) if same}
        return {role: _without_noise(one, scores[role]) if role in scores else one for role, one in maps.items()}


def _without_noise(one: SaliencyMap, score: float) -> SaliencyMap:
    """The map of a score that no mask changes. What an estimator makes of it is rounding, or the masks' own pattern."""
    level = score if one.settings["estimator"] in _ABOUT_A_LEVEL else 0.0
    doubt = MapDoubt(
        "constant", one.role, {"class": one.classes[one.target], "probability": score, "masks": one.n_masks}
    )
    parts = ("values", "halves", "left_out", "halves_without")
    flat = {name: None if getattr(one, name) is None else np.full_like(getattr(one, name), level) for name in parts}
    return replace(one, **flat, standard_error=np.zeros_like(one.standard_error), doubts=(*one.doubts, doubt))


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
    for reason in [*last.misfits.values(), *(doubt.text for one in maps.values() for doubt in one.doubts)]:
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
    task = _Task(
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
    yield from _by_rise(task, chosen) if method == "rise" else _by_captum(task, chosen, strict=bool(roles))


@dataclass(frozen=True)
class _Task:
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
        misfits: Mapping[str, str] | None = None,
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
            misfits={**self.unknown, **(misfits or {})},
            **more,
        )


def _baseline(experiment: Experiment, settings: dict[str, Any], picture: Image.Image) -> torch.Tensor:
    what = settings.get("baseline", "black")
    if isinstance(what, Image.Image):  # settings are data that can be written down
        settings["baseline"] = f"picture {hashlib.sha256(what.tobytes()).hexdigest()[:8]}"
    return experiment.baseline(what, picture, settings.get("seed", 0))


def _by_rise(task: _Task, settings: dict[str, Any]) -> Iterator[ExplainState]:
    size = (task.inputs.shape[-2], task.inputs.shape[-1])
    grid, n_masks, estimator = (settings["grid"],) * 2, settings["n_masks"], settings["estimator"]
    masks = RandomMasks(size, grid, settings["probability"], settings["seed"], settings["sampler"]).suited(n_masks)
    settings["sampler"] = masks.kind
    explained = {role: Explained(model, softmax) for role, model in task.models.items()}
    stop = Stop(masks, estimator, settings["reliability"] or None, settings["seconds"] or None, compared=True)
    states = stream_scores(explained, task.inputs, task.baseline, masks, n_masks, estimator, settings["precision"])
    for one in states:
        done = next(iter(one.values())).n_masks
        if done < MINIMUM_MASKS:
            continue
        ended = stop.reason(_rows(one, task.targets), done)
        if ended:
            why, count = ended
            one = {role: state.first(count) for role, state in one.items()}
            yield task.state(count, n_masks, settings, states=one, stopped=why)
            return
        yield task.state(done, n_masks, settings, states=one)


def _by_captum(task: _Task, settings: dict[str, Any], strict: bool) -> Iterator[ExplainState]:
    """A state after each model. Models that the method does not fit are left out, with the reason, unless ``strict``.

    Raises:
        SettingError: The method fits no model, or not one that was asked for.
    """
    ready: dict[str, SaliencyMap] = {}
    misfits: dict[str, str] = {}
    for number, (role, model) in enumerate(task.models.items(), 1):
        try:
            found = captum_methods.attribute(
                task.method, model, task.inputs, task.baseline, task.targets[role], settings
            )
        except SettingError as error:
            if strict:
                raise
            misfits[role] = str(error)
        else:
            ready[role] = SaliencyMap(
                role=role,
                target=task.targets[role],
                values=found.map.cpu().numpy(),
                standard_error=found.standard_error.cpu().numpy(),
                halves=found.halves.cpu().numpy(),
                probabilities=task.probabilities[role],
                picture=task.picture,
                classes=task.classes,
                n_masks=0,
                method=task.method,
                settings=settings,
                doubts=(*task.doubts[role], *_doubts_of_map(task, role, found.map.cpu().numpy())),
            )
        if ready:
            yield task.state(number, len(task.models), settings, ready=dict(ready), misfits=misfits)
    if not ready:
        raise SettingError(next(iter(misfits.values())))


def _doubts_of_map(task: _Task, role: str, values: np.ndarray) -> tuple[MapDoubt, ...]:
    return (MapDoubt("flat", role, {"class": task.classes[task.targets[role]]}),) if is_flat(values) else ()


def _rows(states: Mapping[str, RISEState], targets: Mapping[str, int]) -> torch.Tensor:
    """The scores of each model's target, (models, masks)."""
    return torch.stack([state.scores[0, :, targets[role]] for role, state in states.items()])


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
    found = []
    for inputs in parts:
        try:
            found.append(model(inputs).float())
        except KdvizError:
            raise
        except Exception as error:
            first_line = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"The model '{role}' failed on a batch of shape {tuple(inputs.shape)}: {first_line}"
            ) from error
    if len({one.shape[1:] for one in found}) > 1:
        raise ModelError(f"The model '{role}' returned another number of scores for another number of pictures.")
    check_logits(role, torch.cat(found))
    return torch.cat(found)


def _targets(
    experiment: Experiment, target: int | str | Mapping[str, int | str] | None, probabilities: Mapping[str, np.ndarray]
) -> dict[str, int]:
    predicted = {role: int(row.argmax()) for role, row in probabilities.items()}
    if target is None:
        return predicted
    if isinstance(target, Mapping):
        return {**predicted, **{role: experiment.class_index(one) for role, one in target.items() if role in predicted}}
    return dict.fromkeys(predicted, experiment.class_index(target))


def maps_npz(maps: Mapping[str, SaliencyMap]) -> bytes:
    """An .npz with float32 (H, W) named by role, and ``<role>_se`` for its standard error."""
    arrays = {role: saliency_map.values for role, saliency_map in maps.items()}
    arrays |= {f"{role}_se": saliency_map.standard_error for role, saliency_map in maps.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:  # np.savez takes no array named "file"
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(array, dtype=np.float32), allow_pickle=False)
    return buffer.getvalue()
