"""Maps of a run, its parent and its teacher on the same test images, compared across independent halves of masks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment
from kdviz.explanation.explain import explain
from kdviz.metrics import AgreementReport, agreement

MEASURE = "pearson"


class PicturesWithLabels(Protocol):
    """Pictures that can be asked for one by one, such as :class:`kdviz.data.LabelledImages`."""

    def __len__(self) -> int: ...

    @property
    def labels(self) -> Tensor:
        """Labels, int64 (N,)."""
        ...

    def picture(self, sample: int, /) -> Image.Image:
        """A picture as the models see it."""
        ...


def chosen_images(samples: PicturesWithLabels, count: int) -> list[int]:
    """Numbers of the samples whose maps are compared: always the same random choice, so that rows can be paired."""
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
    return sorted(order[:count].tolist())


def compare_maps(
    experiment: Experiment, child: str, samples: PicturesWithLabels, count: int, masks: int, device: str = "auto"
) -> Iterator[dict[str, Any]]:
    """The columns of compression.parquet on maps, after each image; the last ones are complete.

    All maps of an image explain its label, by RISE with the same masks. The agreement of two models is that across
    independent halves of the masks, divided by the noise ceiling (:func:`kdviz.agreement`), so that equal models would
    have 1 on average.

    Args:
        experiment: The experiment.
        child: Role of a run that was made from another one.
        samples: Samples of the test split.
        count: Number of images.
        masks: Masks of each map.
        device: A torch device, or ``auto``.
    """
    parent = experiment.runs[child].parent
    teacher = Role.TEACHER if Role.TEACHER in experiment.models and child != Role.TEACHER else ""
    roles = list(dict.fromkeys(filter(None, (child, parent, teacher))))
    names = ("maps_parent", "maps_teacher", "parent_teacher", "ceiling")
    columns: dict[str, Any] = {"masks": masks, "images": [], **{name: [] for name in names}}
    for image in chosen_images(samples, count):
        target = int(samples.labels[image])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a map that says little has a low ceiling, and counts as such
            maps = explain(
                experiment, samples.picture(image), target, roles=roles, device=device, n_masks=masks, seed=image
            )
        report = agreement(maps, MEASURE)
        pair = report.between(child, parent)
        values = (pair.corrected, _corrected(report, child, teacher), _corrected(report, parent, teacher), pair.ceiling)
        columns["images"].append(image)
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
        yield columns


def _corrected(report: AgreementReport, first: str, teacher: str) -> float:
    """The agreement of a model with the teacher; NaN without a teacher, and of the teacher with itself."""
    return float("nan") if not teacher or first == teacher else report.between(first, teacher).corrected
