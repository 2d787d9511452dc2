"""Maps of every model for a group of images, and the store that keeps them.

The images of a group share one series of masks, so that masks and what depends on them alone are made once; groups have
independent series. A group is one file, so that a study of any size needs the memory of a group, continues where it was
stopped, and is spread over machines group by group. See :mod:`kdviz.studies.attention` for a million images.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from torch import Tensor, nn

from kdviz.core.devices import choose_device
from kdviz.core.errors import KdvizError
from kdviz.core.files import Store
from kdviz.core.processes.memory import return_free_memory
from kdviz.data.samples import as_picture
from kdviz.experiment import Experiment
from kdviz.explanation.captum.attribution import attribute
from kdviz.rise.estimators import estimate
from kdviz.rise.masks import RandomMasks
from kdviz.rise.states import ModelWithActivation, RISEState, softmax
from kdviz.rise.streaming import stream_scores
from kdviz.studies.attention.models import StudyModel
from kdviz.studies.attention.unfinished_scores import read_scores, write_scores

_TARGETS = 256  # number of targets whose maps are computed together
_SECONDS = 20.0  # between savings of an unfinished group


@dataclass(frozen=True)
class StudyImages:
    """The images of a study, with what its tables say of them.

    Attributes:
        samples: int64 (n,), their numbers in the split.
        labels, targets: int64 (n,), their classes and the classes that are explained.
        weights, who: See :class:`kdviz.studies.attention.sampling.StratifiedSample`.
    """

    samples: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    who: Sequence[str]

    def __getitem__(self, part: slice) -> StudyImages:
        return StudyImages(*(getattr(self, attribute.name)[part] for attribute in fields(self)))


@dataclass(frozen=True)
class StudyJob:
    """What all groups of a study have in common, as plain data that is sent once to another machine.

    Attributes:
        identity: Hash that identifies the study.
        experiment: The experiment, without its runs.
        models: The models, each of which gets a map of each image; teachers come first.
        pixels: uint8 (n, C, H, W), the study's images, in its order.
        images: Labels, targets and weights of the images; every model's maps explain the same targets.
        bounds: Start of each group, and the end: group g has images ``bounds[g]`` to ``bounds[g + 1] - 1``.
        study, split: Their names in tables.
        method, settings: Method of the maps, and its complete settings.
        store: URL of the study's files.
        device, threads: Where and how it runs; not part of the identity.
        batch: Masked images in a forward pass; None: the fastest size.
    """

    identity: str
    experiment: Experiment
    models: tuple[StudyModel, ...] = field(repr=False)
    pixels: Tensor = field(repr=False)
    images: StudyImages = field(repr=False)
    bounds: tuple[int, ...] = field(repr=False)
    study: str
    split: str
    method: str
    settings: Mapping[str, Any]
    store: str
    device: str = "auto"
    threads: int = 0
    batch: int | None = None

    def group(self, index: int) -> slice:
        return slice(self.bounds[index], self.bounds[index + 1])

    def inputs(self, part: slice, device: torch.device) -> tuple[Tensor, Tensor]:
        """Some images as the models see them, and their baselines: float32 (n, C, H, W) each."""
        inputs = self.experiment.input.normalise(self.pixels[part]).to(device)
        return inputs, torch.cat([_baseline(self, number) for number in range(part.start, part.stop)]).to(device)

    def masks(self, group: int) -> RandomMasks:
        """The series of masks of a group, for RISE."""
        settings, grid = self.settings, (self.settings["grid"],) * 2
        seed, height, width = group_seed(settings["seed"], group), *self.pixels.shape[2:]
        masks = RandomMasks((height, width), grid, settings["probability"], seed, settings["sampler"])
        return masks.resolve_sampler(settings["n_masks"])


@dataclass(frozen=True)
class GroupMaps:
    """The maps of a group.

    Attributes:
        halves: float32 (models, images, 2, H, W): two independent estimates of each map.
        predicted: int16 (models, images): the class that each model predicts for the unmasked image.
        seconds: Time that the maps took.
        memory: Peak memory of the process until then, in MB.
    """

    halves: np.ndarray
    predicted: np.ndarray
    seconds: float = 0.0
    memory: float = 0.0

    def to_bytes(self) -> bytes:
        """The maps as safetensors, float16 scaled map by map: 3 kB for a model and an image of 28 x 28."""
        largest = np.abs(self.halves).max((2, 3, 4), keepdims=True)
        scale = np.where(largest > 0, largest, 1).astype(np.float32)
        arrays = {
            "halves": np.ascontiguousarray((self.halves / scale).astype(np.float16)),  # safetensors does not check it
            "scale": scale,
            "predicted": self.predicted.astype(np.int16),
            "cost": np.array([self.seconds, self.memory]),
        }
        return save_arrays(arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> GroupMaps:
        arrays = load_arrays(content)
        halves = arrays["halves"].astype(np.float32) * arrays["scale"]
        return cls(halves, arrays["predicted"], *map(float, arrays["cost"]))


def maps_name(group: int) -> str:
    """Name of a group's file of maps in the store."""
    return f"maps-{group:06d}.safetensors"


def read_maps(store: Store, group: int) -> GroupMaps | None:
    """A group's maps; None where they are not made yet, or the file is damaged and has to be made again."""
    content = store.read(maps_name(group))
    if content is None:
        return None
    try:
        return GroupMaps.from_bytes(content)
    except Exception:  # safetensors has its own errors for a damaged file
        store.set_aside(maps_name(group))
        return None


def make_maps(job: StudyJob, group: int) -> Iterator[float | GroupMaps]:
    """Make the maps of a group; yields the share that is done after each chunk of masks, and the maps last."""
    began = time.perf_counter()
    device = choose_device(job.device)
    models, part = build_models(job, device), job.group(group)
    inputs, baselines = job.inputs(part, device)
    halves, earlier_seconds = None, 0.0
    if job.method == "rise":
        shape = (part.stop - part.start, job.settings["n_masks"])
        earlier, earlier_seconds = read_scores(Store(job.store), group, [model.key for model in job.models], shape)
        steps = _by_rise(job, group, models, inputs, baselines, earlier, began - earlier_seconds)
    else:
        steps = _by_captum(job, group, models, inputs, baselines)
    for result in steps:
        if isinstance(result, Tensor):
            halves = result.numpy()
        else:
            yield result
    assert halves is not None  # they are yielded last
    with torch.inference_mode():
        predicted = np.stack([model(inputs).argmax(1).cpu().numpy() for model in models.values()])
    return_free_memory()  # glibc keeps some MB more with each group, so that a long study would grow
    seconds = time.perf_counter() - began + earlier_seconds
    yield GroupMaps(halves, predicted.astype(np.int16), seconds, peak_memory())


def _by_rise(
    job: StudyJob,
    group: int,
    models: Mapping[str, nn.Module],
    inputs: Tensor,
    baselines: Tensor,
    earlier: Mapping[str, Tensor],
    began: float,
) -> Iterator[float | Tensor]:
    """The halves of each map; scores are kept every few seconds, so that a group of an hour is not lost.

    Args:
        job, group: The group.
        models: Key -> model.
        inputs, baselines: (n, C, H, W).
        earlier: Scores of the first masks, of an earlier process.
        began: Time at which the group was begun, by the performance counter.
    """
    n_masks, masks = job.settings["n_masks"], job.masks(group)
    targets = torch.from_numpy(job.images.targets[job.group(group)])
    scores: dict[str, Tensor] = {}
    saved = time.monotonic()
    try:
        for states in stream_targets(job, models, masks, inputs, baselines, targets, earlier):
            scores = {key: state.scores for key, state in states.items()}
            if time.monotonic() - saved > _SECONDS:
                write_scores(Store(job.store), group, scores, time.perf_counter() - began)
                saved = time.monotonic()
            yield next(iter(states.values())).n_masks / n_masks
    except (GeneratorExit, KeyboardInterrupt):
        if scores:
            write_scores(Store(job.store), group, scores, time.perf_counter() - began)
        raise
    rows = torch.cat([scores[key].cpu() for key in models])  # (models * images, masks)
    parts = [estimate(masks, part, job.settings["estimator"]).halves for part in rows.split(_TARGETS)]
    halves = torch.cat(parts, dim=1)  # (2, models * images, H, W)
    yield halves.unflatten(1, (len(models), len(inputs))).permute(1, 2, 0, 3, 4)


def stream_targets(
    job: StudyJob,
    models: Mapping[str, nn.Module],
    masks: RandomMasks,
    inputs: Tensor,
    baselines: Tensor,
    targets: Tensor,
    earlier: Mapping[str, Tensor] | None = None,
) -> Iterator[dict[str, RISEState]]:
    """The states of RISE for some images of a study, with scores (images, masks) of one class of each."""
    models_with_softmax = {key: ModelWithActivation(model, softmax) for key, model in models.items()}
    settings = job.settings
    return stream_scores(
        models_with_softmax,
        inputs,
        baselines,
        masks,
        settings["n_masks"],
        settings["estimator"],
        settings["precision"],
        job.batch,
        targets=targets,
        earlier=earlier,
    )


def _by_captum(
    job: StudyJob, group: int, models: Mapping[str, nn.Module], inputs: Tensor, baselines: Tensor
) -> Iterator[float | Tensor]:
    halves = []
    for index, model in enumerate(models.values()):
        for position, target in enumerate(job.images.targets[job.group(group)].tolist()):
            image, baseline = inputs[position : position + 1], baselines[position : position + 1]
            attribution = attribute(job.method, model, image, baseline, target, job.settings)
            halves.append(torch.as_tensor(attribution.halves).cpu().float())
        yield (index + 1) / len(models)
    yield torch.stack(halves).unflatten(0, (len(models), len(inputs)))


def group_seed(seed: int, group: int) -> int:
    """Seed of a group's masks, independent of every other group's."""
    return int(np.random.SeedSequence([seed, group]).generate_state(1, np.uint64)[0] >> 1)


def _baseline(job: StudyJob, number: int) -> Tensor:
    baseline, seed = job.settings.get("baseline", "black"), job.settings.get("seed", 0)
    return job.experiment.baseline(baseline, as_picture(job.pixels[number]), seed)


# The models of the last study, so that they are not built again for each group.
_models_of_study: dict[tuple[str, torch.device], dict[str, nn.Module]] = {}


def build_models(job: StudyJob, device: torch.device) -> dict[str, nn.Module]:
    key = (job.identity, device)
    if key not in _models_of_study:
        _models_of_study.clear()
        classes = len(job.experiment.classes)
        _models_of_study[key] = {
            model.key: model.build(job.experiment.input, classes).to(device) for model in job.models
        }
    return _models_of_study[key]


def peak_memory() -> float:
    """The most memory that this process has had, in MB; NaN where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), float("nan"))


class MapStore:
    """The maps of a study, read image by image.

    Args:
        store: Store of the study's files.
        keys: Keys of its models, in their order.
        samples: Numbers of its images, in their order.
        bounds: As in :class:`StudyJob`.
    """

    def __init__(self, store: Store, keys: Sequence[str], samples: Sequence[int], bounds: Sequence[int]):
        self._store, self._keys, self._bounds = store, tuple(keys), np.asarray(bounds)
        self._positions = {int(sample): position for position, sample in enumerate(samples)}

    def halves(self, sample: int) -> dict[str, np.ndarray]:
        """Model -> float32 (2, H, W) of one image of the study.

        Raises:
            KdvizError: The image is not in the study, or its maps are missing.
        """
        if sample not in self._positions:
            raise KdvizError("The image {sample} is not in this study.", sample=sample)
        position = self._positions[sample]
        group = int(np.searchsorted(self._bounds, position, side="right")) - 1
        maps = read_maps(self._store, group)
        if maps is None:
            raise KdvizError(
                "'{maps_name}' is missing from '{url}'; run the study again.",
                maps_name=maps_name(group),
                url=self._store.url,
            )
        image = position - int(self._bounds[group])
        return {key: maps.halves[index, image] for index, key in enumerate(self._keys)}
