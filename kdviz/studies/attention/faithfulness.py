"""Faithfulness over the images of a study: is a map trusted because it is right, or because it is pretty?

For each image, model and method: how fast the probability of the explained class falls when the map's best pixels go
(deletion), and how fast it rises when they come (insertion), beside a map that knows no model.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor, nn

from kdviz.core.errors import SettingError
from kdviz.data import LabelledImages
from kdviz.experiment import ROLES, Experiment
from kdviz.explanation.captum.attribution import incompatibility
from kdviz.metrics import faithfulness_of_maps, trivial_map
from kdviz.saliency import explain, methods
from kdviz.studies.attention.study import AttentionStudy

NAME = "faithfulness"
TRIVIAL = "blurred picture"
_STEPS = 56  # of insertion and deletion: more change an area by a few thousandths
_KERNEL_SAMPLES = 1000  # of KernelSHAP, whose regressions cost more than the models
_TEXT = pa.dictionary(pa.int16(), pa.string())
SCHEMA = pa.schema(
    [
        ("split", _TEXT),
        ("sample", pa.int32()),
        ("label", pa.int16()),
        ("target", pa.int16()),
        ("weight", pa.float32()),
        ("role", _TEXT),
        ("method", _TEXT),
        ("deletion", pa.float32()),
        ("insertion", pa.float32()),
    ]
)
"""Of faithfulness.parquet: one row an image, model and method."""


def run_faithfulness(study: AttentionStudy, count: int) -> Iterator[int]:
    """Measure the first ``count`` images of a study, those that are not measured yet, and write faithfulness.parquet.

    The experiment's own models explain the teacher's class, each by every method that fits it, RISE with as many masks
    as the study's maps have. Each image's rows are kept in the study's store when they are known.

    Yields:
        How many images are done.
    """
    experiment, n_masks = study.experiment, int(study.settings.get("n_masks", 2000))
    own = {role: experiment.runs[role] for role in ROLES if role in experiment.models}
    models = {role: run.model for role, run in own.items()}
    task = _FaithfulnessTask(
        experiment, models, {role: _fitting(model) for role, model in models.items()}, n_masks, study.baseline
    )
    key = hashlib.sha256(json.dumps([[run.sha256 for run in own.values()], n_masks, study.baseline, _STEPS]).encode())
    rows: list[dict[str, Any]] = []
    for place in range(min(count, len(study.chosen.samples))):
        sample = int(study.chosen.samples[place])
        name = f"faithful-{key.hexdigest()[:8]}-{sample:06d}.json"
        content = study.store.read(name)
        if content is None:
            content = json.dumps(list(task.rows(study.samples, sample))).encode()
            study.store.write(name, content)
        weight = {"split": study.samples.split, "weight": float(study.chosen.weights[place])}
        rows += [{**row, **weight} for row in json.loads(content)]
        yield place + 1
    experiment.write_table(NAME, pa.Table.from_pylist(rows, SCHEMA))


def _fitting(model: nn.Module) -> list[str]:
    return [name for name in methods if name == "rise" or incompatibility(name, model) is None]


@dataclass(frozen=True)
class _FaithfulnessTask:
    """What all images have in common: the models and the methods that fit each."""

    experiment: Experiment
    models: Mapping[str, nn.Module]
    fitting: Mapping[str, Sequence[str]]
    n_masks: int
    baseline: str | float

    def rows(self, samples: LabelledImages, sample: int) -> Iterator[dict[str, Any]]:
        """Of one image: a row a model and method."""
        picture = samples.picture(sample)
        inputs = self.experiment.preprocess(picture)
        base = self.experiment.baseline(self.baseline, picture)
        target = int(self.models["teacher"](inputs).argmax())
        maps: dict[str, dict[str, Any]] = {role: {TRIVIAL: trivial_map(inputs)} for role in self.models}
        for name in methods:
            for role, found in self._explained(picture, target, name).items():
                maps[role][name] = found
        about = {"sample": sample, "label": int(samples.labels[sample]), "target": target}
        for role, model in self.models.items():
            forward = _Probabilities(model)
            for name, one in faithfulness_of_maps(forward, inputs, maps[role], target, base, steps=_STEPS).items():
                areas = {"deletion": one.deletion.auc, "insertion": one.insertion.auc}
                yield {**about, "role": role, "method": name, **areas}

    def _explained(self, picture: Any, target: int, name: str) -> dict[str, np.ndarray]:
        """Role -> map; empty where the method fails on this picture, as DeepLIFT may."""
        roles = [role for role, fitting in self.fitting.items() if name in fitting]
        known = {setting.name for setting in methods[name].settings}
        samples = _KERNEL_SAMPLES if name == "kernel_shap" else None
        given = {"n_masks": self.n_masks, "baseline": self.baseline, "n_samples": samples}
        settings: dict[str, Any] = {key: one for key, one in given.items() if key in known and one is not None}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of one picture's map; the table is about all of them
                found = explain(self.experiment, picture, target, name, roles=roles, device="cpu", **settings)
        except SettingError:
            return {}
        return {role: np.asarray(one) for role, one in found.items()}


@dataclass(frozen=True)
class _Probabilities:
    model: nn.Module

    def __call__(self, images: Tensor) -> Tensor:
        return self.model(images).softmax(1)


def faithfulness_summary(experiment: Experiment) -> list[dict[str, Any]]:
    """Weighted mean areas by model and method, with the 95 % interval of the difference from the trivial map.

    Returns:
        Dicts with role, method, images, deletion, insertion, and ``deletion_gain`` and ``insertion_gain``: how much
        better than the blurred picture (above zero is better), each with ``_low`` and ``_high``. Empty without a table.
    """
    if not experiment.has_table(NAME):
        return []
    groups: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for row in experiment.table(NAME).to_pylist():
        groups.setdefault((row["role"], row["method"]), {})[row["sample"]] = row
    return [_summary(role, method, group, groups[role, TRIVIAL]) for (role, method), group in groups.items()]


def _summary(role: str, method: str, group: Mapping[int, Any], trivial: Mapping[int, Any]) -> dict[str, Any]:
    shared = [sample for sample in group if sample in trivial]
    weights = np.array([group[sample]["weight"] for sample in shared])
    weights = weights / weights.sum()
    found: dict[str, Any] = {"role": role, "method": method, "images": len(shared)}
    for area, sign in (("deletion", -1), ("insertion", 1)):
        own = np.array([group[sample][area] for sample in shared])
        gain = sign * (own - np.array([trivial[sample][area] for sample in shared]))
        mean = float(weights @ gain)
        error = float((weights**2 @ (gain - mean) ** 2) ** 0.5)
        found |= {area: float(weights @ own), f"{area}_gain": mean}
        found |= {f"{area}_gain_low": mean - 1.96 * error, f"{area}_gain_high": mean + 1.96 * error}
    return found
