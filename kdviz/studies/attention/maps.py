"""Maps of every model for a group of images, and the store that keeps them.

The images of a group share one series of masks, so that masks and what depends on them alone are made once; groups have
independent series. A group is one file, so that a study of any size needs the memory of a group, continues where it was
stopped, and is spread over machines group by group. See :mod:`kdviz.studies.attention` for a million images.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
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
from kdviz.data.samples import as_picture
from kdviz.experiment import Experiment
from kdviz.explanation.captum.attribution import attribute
from kdviz.rise.estimators import estimate
from kdviz.rise.masks import RandomMasks
from kdviz.rise.states import ModelWithActivation, softmax
from kdviz.rise.streaming import stream_scores
from kdviz.studies.attention.models import StudyModel

_TARGETS = 256  # whose maps are computed together


@dataclass(frozen=True)
class StudyImages:
    """What is known of some images.

    Attributes:
        samples: int64 (n,), their numbers in the split.
        labels, targets: int64 (n,).
        weights, who: See :class:`kdviz.studies.attention.sampling.Chosen`.
    """

    samples: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    who: Sequence[str]

    def __getitem__(self, part: slice) -> StudyImages:
        return StudyImages(*(getattr(self, one.name)[part] for one in fields(self)))


@dataclass(frozen=True)
class StudyJob:
    """What all groups of a study have in common: data alone, so that it can be sent to another machine, once.

    Attributes:
        identity: Of the study.
        experiment: Without its runs.
        models: Of which each gets a map of each image; teachers come first.
        pixels: uint8 (n, C, H, W), of the study's images, in its order.
        images: What is known of them; their targets are explained, for every model.
        bounds: Where each group begins, and the end: group g has images ``bounds[g]`` to ``bounds[g + 1] - 1``.
        study, split: What tables call them.
        method, settings: Of the maps; complete.
        store: URL of the study's files.
        device, threads: Where and how it runs; no part of the identity.
        batch: Masked images in a forward pass; None: the fastest.
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

    def group(self, number: int) -> slice:
        return slice(self.bounds[number], self.bounds[number + 1])


@dataclass(frozen=True)
class GroupMaps:
    """The maps of a group.

    Attributes:
        halves: float32 (models, images, 2, H, W): two independent estimates of each map.
        predicted: int16 (models, images): what each model says of the unmasked image.
        seconds: What they took.
        memory: The most memory that the process had until then, in MB.
    """

    halves: np.ndarray
    predicted: np.ndarray
    seconds: float = 0.0
    memory: float = 0.0

    def to_bytes(self) -> bytes:
        """float16 of each map's own scale, as safetensors: 3 kB for a model and an image of 28 x 28."""
        largest = np.abs(self.halves).max((2, 3, 4), keepdims=True)
        scale = np.where(largest > 0, largest, 1).astype(np.float32)
        arrays = {
            "halves": np.ascontiguousarray((self.halves / scale).astype(np.float16)),  # safetensors asks not
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
    """Of a group's file in the store."""
    return f"maps-{group:06d}.safetensors"


def read_maps(store: Store, group: int) -> GroupMaps | None:
    """A group's maps; None where they are not made yet, or the file is damaged and has to be made again."""
    content = store.read(maps_name(group))
    if content is None:
        return None
    try:
        return GroupMaps.from_bytes(content)
    except Exception:  # safetensors has its own errors for a damaged file
        return None


def make_maps(work: StudyJob, group: int) -> Iterator[float | GroupMaps]:
    """The maps of a group; before them, the share of it that is done, after each chunk of masks."""
    began = time.perf_counter()
    device = choose_device(work.device)
    models, place = _built(work, device), work.group(group)
    inputs = work.experiment.input.normalise(work.pixels[place]).to(device)
    baselines = torch.cat([_baseline(work, number) for number in range(place.start, place.stop)]).to(device)
    make = _by_rise if work.method == "rise" else _by_captum
    halves = None
    for one in make(work, group, models, inputs, baselines):
        if isinstance(one, Tensor):
            halves = one.numpy()
        else:
            yield one
    assert halves is not None  # the last that is made
    with torch.inference_mode():
        predicted = np.stack([model(inputs).argmax(1).cpu().numpy() for model in models.values()])
    _return_memory()
    yield GroupMaps(halves, predicted.astype(np.int16), time.perf_counter() - began, peak_memory())


def _return_memory() -> None:
    """Give back what was freed: glibc keeps it, a few MB more with each group, and a long study would seem to grow."""
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _by_rise(
    work: StudyJob, group: int, models: Mapping[str, nn.Module], inputs: Tensor, baselines: Tensor
) -> Iterator[float | Tensor]:
    chosen = work.settings
    size, grid = (inputs.shape[2], inputs.shape[3]), (chosen["grid"],) * 2
    n_masks, seed = chosen["n_masks"], group_seed(chosen["seed"], group)
    masks = RandomMasks(size, grid, chosen["probability"], seed, chosen["sampler"]).resolve_sampler(n_masks)
    explained = {key: ModelWithActivation(model, softmax) for key, model in models.items()}
    states = stream_scores(
        explained, inputs, baselines, masks, n_masks, chosen["estimator"], chosen["precision"], work.batch
    )
    last = {}
    for last in states:
        yield next(iter(last.values())).n_masks / n_masks
    index, targets = torch.arange(len(inputs)), torch.from_numpy(work.images.targets[work.group(group)])
    scores = torch.cat([state.scores.cpu()[index, :, targets] for state in last.values()])  # (models * images, masks)
    parts = [estimate(masks, part, chosen["estimator"]).halves for part in scores.split(_TARGETS)]
    halves = torch.cat(parts, dim=1)  # (2, models * images, H, W)
    yield halves.unflatten(1, (len(models), len(inputs))).permute(1, 2, 0, 3, 4)


def _by_captum(
    work: StudyJob, group: int, models: Mapping[str, nn.Module], inputs: Tensor, baselines: Tensor
) -> Iterator[float | Tensor]:
    found = []
    for number, model in enumerate(models.values()):
        for image, target in enumerate(work.images.targets[work.group(group)].tolist()):
            one, base = inputs[image : image + 1], baselines[image : image + 1]
            made = attribute(work.method, model, one, base, target, work.settings)
            found.append(torch.as_tensor(made.halves).cpu().float())
        yield (number + 1) / len(models)
    yield torch.stack(found).unflatten(0, (len(models), len(inputs)))


def group_seed(seed: int, group: int) -> int:
    """Of the masks of a group: independent of every other group's."""
    return int(np.random.SeedSequence([seed, group]).generate_state(1, np.uint64)[0] >> 1)


def _baseline(work: StudyJob, number: int) -> Tensor:
    what, seed = work.settings.get("baseline", "black"), work.settings.get("seed", 0)
    return work.experiment.baseline(what, as_picture(work.pixels[number]), seed)


_kept: dict[tuple[str, torch.device], dict[str, nn.Module]] = {}  # of one study, so that a group does not build them


def _built(work: StudyJob, device: torch.device) -> dict[str, nn.Module]:
    key = (work.identity, device)
    if key not in _kept:
        _kept.clear()
        classes = len(work.experiment.classes)
        _kept[key] = {one.key: one.build(work.experiment.input, classes).to(device) for one in work.models}
    return _kept[key]


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
        store: Of its files.
        keys: Of its models, in their order.
        samples: Numbers of its images, in their order.
        bounds: As in :class:`StudyJob`.
    """

    def __init__(self, store: Store, keys: Sequence[str], samples: Sequence[int], bounds: Sequence[int]):
        self._store, self._keys, self._bounds = store, tuple(keys), np.asarray(bounds)
        self._places = {int(sample): place for place, sample in enumerate(samples)}

    def halves(self, sample: int) -> dict[str, np.ndarray]:
        """Model -> float32 (2, H, W) of one image of the study.

        Raises:
            KdvizError: The image is not in the study, or its maps are not there.
        """
        if sample not in self._places:
            raise KdvizError(f"The image {sample} is not in this study.")
        place = self._places[sample]
        group = int(np.searchsorted(self._bounds, place, side="right")) - 1
        found = read_maps(self._store, group)
        if found is None:
            raise KdvizError(f"'{maps_name(group)}' is missing from '{self._store.url}'; run the study again.")
        image = place - int(self._bounds[group])
        return {key: found.halves[number, image] for number, key in enumerate(self._keys)}
