"""Explain one picture by all models of an experiment, with the same masks."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from kdviz.errors import UnknownNameError
from kdviz.experiment import Experiment
from kdviz.networks import choose_device, fast_bf16
from kdviz.saliency.estimators import MINIMUM_MASKS, estimate
from kdviz.saliency.masks import RandomMasks
from kdviz.saliency.methods import methods
from kdviz.saliency.rise import RISEState, stream_scores

_PROBES = 32  # masked pictures on which bfloat16 is compared with float32
_TOLERANCE = 0.03  # largest change of a probability; far below the noise of one mask, and it averages out


@dataclass(frozen=True)
class SaliencyMap:
    """One model's map of one picture. It converts to an array: ``np.asarray(saliency_map)``.

    Attributes:
        role: Of the model.
        target: Index of the class explained.
        values: float32 (H, W): change of the class's probability when the pixel is kept (centred RISE).
        standard_error: float32 (H, W), of ``values``.
        halves: float32 (2, H, W): two independent estimates, from half of the masks each.
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

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def reliability(self) -> float:
        """Predicted correlation with the map of infinitely many masks: sqrt(2 h / (1 + h)), h between the halves.

        The halves' correlation is stepped up to the full length (Spearman-Brown), and its root is that with the true
        map. 0 when the halves do not agree.
        """
        first, second = self.halves.reshape(2, -1)
        if not (np.ptp(first) and np.ptp(second)):
            return 0.0
        half = max(0.0, float(np.corrcoef(first, second)[0, 1]))
        return float(np.sqrt(2 * half / (1 + half)))

    @property
    def predicted(self) -> int:
        """Index of the class with the highest probability."""
        return int(self.probabilities.argmax())


@dataclass(frozen=True)
class ExplainState:
    """What is known after ``n_masks`` of ``total`` masks. Maps of any class are computed when asked for."""

    n_masks: int
    total: int
    states: Mapping[str, RISEState] = field(repr=False)
    probabilities: Mapping[str, np.ndarray] = field(repr=False)
    targets: Mapping[str, int]
    picture: np.ndarray = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    settings: Mapping[str, Any]
    method: str = "rise"

    def maps(self, targets: Mapping[str, int] | None = None) -> dict[str, SaliencyMap]:
        """Role -> map so far, of each model's target or of other ``targets`` (role -> class index)."""
        wanted = {**self.targets, **(targets or {})}
        rows = torch.stack([state.scores[0, :, wanted[role]] for role, state in self.states.items()])
        masks = next(iter(self.states.values())).masks
        result = estimate(masks, rows, self.settings["estimator"])
        return {
            role: SaliencyMap(
                role=role,
                target=wanted[role],
                values=result.map[number].cpu().numpy(),
                standard_error=result.standard_error[number].cpu().numpy(),
                halves=result.halves[:, number].cpu().numpy(),
                probabilities=self.probabilities[role],
                picture=self.picture,
                classes=self.classes,
                n_masks=self.n_masks,
                method=self.method,
                settings=self.settings,
            )
            for number, role in enumerate(self.states)
        }


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

    Raises:
        KdvizError: The picture, the class, the method or a setting is not acceptable.
    """
    states = explain_stream(experiment, image, target, method, roles=roles, device=device, **settings)
    last = deque(states, maxlen=1).pop()  # the stream yields at least once
    return last.maps()


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
    runs = _runs(experiment, roles)
    device = choose_device(device) if isinstance(device, str) else device
    picture = experiment.prepare(image)
    inputs = experiment.preprocess(picture).to(device)
    models = {role: run.on(device) for role, run in runs.items()}
    probabilities = {role: _probabilities(model, inputs) for role, model in models.items()}
    targets = _targets(experiment, target, probabilities)
    masks = RandomMasks(
        experiment.input.size,
        (chosen["grid"], chosen["grid"]),
        chosen["probability"],
        chosen["seed"],
        chosen["sampler"],
    )
    masks = masks.suited(chosen["n_masks"])
    chosen["sampler"] = masks.kind
    baseline = experiment.input.baseline(chosen["baseline"]).to(device)
    if chosen["precision"] == "auto":
        chosen["precision"] = _precision(models, inputs, baseline, masks)
    forwards = {role: _probability_of(model, chosen["precision"]) for role, model in models.items()}
    for states in stream_scores(forwards, inputs, baseline, masks, chosen["n_masks"], chosen["estimator"]):
        done = next(iter(states.values())).n_masks
        if done < MINIMUM_MASKS:
            continue
        yield ExplainState(
            n_masks=done,
            total=chosen["n_masks"],
            states=states,
            probabilities=probabilities,
            targets=targets,
            picture=np.asarray(picture),
            classes=experiment.classes,
            settings=chosen,
            method=method,
        )


def _runs(experiment: Experiment, roles: list[str] | None) -> dict[str, Any]:
    for role in roles or ():
        if role not in experiment.runs:
            raise UnknownNameError("role", role, experiment.runs)
    return {role: run for role, run in experiment.runs.items() if not roles or role in roles}


def _probability_of(model: torch.nn.Module, precision: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """What RISE explains: a probability (Petsiuk et al., 2018, section 3.1)."""

    def forward(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            return model(images).float().softmax(1)

    return forward


@torch.inference_mode()
def _precision(
    models: Mapping[str, torch.nn.Module], inputs: torch.Tensor, baseline: torch.Tensor, masks: RandomMasks
) -> str:
    """``bfloat16`` where the device is faster with it and no model's scores change by much."""
    if not fast_bf16(inputs.device):
        return "float32"
    masked = baseline + masks.render(0, _PROBES, inputs.device) * (inputs - baseline)
    for model in models.values():
        exact, rounded = (_probability_of(model, name)(masked) for name in ("float32", "bfloat16"))
        if not (exact - rounded).abs().max() <= _TOLERANCE:
            return "float32"
    return "bfloat16"


@torch.inference_mode()
def _probabilities(model: torch.nn.Module, inputs: torch.Tensor) -> np.ndarray:
    return model(inputs).float().softmax(1)[0].cpu().numpy()


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
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
