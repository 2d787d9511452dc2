"""Faithfulness over the images of a study: is a map trusted because it is right, or because it is pretty?

For each image, model and method: how fast the probability of the explained class falls when the map's best pixels go
(deletion), and how fast it rises when they come (insertion), beside a map that knows no model.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import t as student_t
from torch import Tensor, nn

from kdviz.core.errors import SettingError
from kdviz.core.files import Store
from kdviz.experiment import ROLES, Experiment
from kdviz.explanation.captum.attribution import incompatibility
from kdviz.metrics import faithfulness_of_maps, trivial_map
from kdviz.saliency import explain, methods
from kdviz.studies.attention.study import AttentionStudy

NAME = "faithfulness"
_RISE = "rise"
TRIVIAL = "blurred picture"
_STEPS = 56  # of insertion and deletion: more change an area by a few thousandths
_FEWER_SAMPLES = {
    "kernel_shap": {"n_samples": 1000},  # its regressions cost more than the models
    "gradient_shap": {"n_samples": 100},
}
_FEWEST = 2  # images, without which there is no interval
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


def run_faithfulness(study: AttentionStudy, count: int, seconds: float | None = None) -> Iterator[int]:
    """Measure the first ``count`` images of a study, those that are not measured yet, and write faithfulness.parquet.

    The experiment's own models explain the teacher's class, each by every method that fits it, RISE with as many masks
    as the study's maps have. Each image's rows are kept in the study's store when they are known.

    Args:
        study: The study, whose maps are made.
        count: Images, at least two and at most those of the study.
        seconds: No further image is begun after them, but two are always measured; None: all images.

    Yields:
        The number of images that are done.
    """
    task = _FaithfulnessTask.of(study)
    ends = math.inf if seconds is None else time.monotonic() + seconds
    rows: list[dict[str, Any]] = []
    for number, sample in enumerate(study.chosen.samples[: max(count, _FEWEST)].tolist()):
        kept = _read(study.store, task.file_name(sample))
        if kept is None:
            if number >= _FEWEST and time.monotonic() > ends:
                break
            kept = list(task.rows(sample, int(study.targets[number])))
            study.store.write(task.file_name(sample), json.dumps(kept).encode())
        weight = {"split": study.samples.split, "weight": float(study.chosen.weights[number])}
        rows += [{**row, **weight} for row in kept]
        yield number + 1
    study.experiment.write_table(NAME, pa.Table.from_pylist(rows, SCHEMA))


def _read(store: Store, name: str) -> list[dict[str, Any]] | None:
    """The rows of a sample; None where they are not there, or damaged."""
    content = store.read(name)
    if content is None:
        return None
    try:
        return [dict(row) for row in json.loads(content)]
    except (ValueError, TypeError):
        store.set_aside(name)
        return None


@dataclass(frozen=True)
class _FaithfulnessTask:
    """What the images of a study have in common.

    Attributes:
        models: Role -> the experiment's own model.
        methods: Role -> names of the methods that can explain the model.
        stored: Roles whose RISE maps the study has.
    """

    study: AttentionStudy
    models: Mapping[str, nn.Module]
    methods: Mapping[str, Sequence[str]]
    stored: Sequence[str]

    @classmethod
    def of(cls, study: AttentionStudy) -> _FaithfulnessTask:
        experiment = study.experiment
        models = {role: experiment.runs[role].model for role in ROLES if role in experiment.models}
        fitting = {role: _fitting(model) for role, model in models.items()}
        keys = [model.key for model in study.models if model.key == model.role] if study.method == _RISE else []
        return cls(study, models, fitting, [role for role in models if role in keys])

    @property
    def n_masks(self) -> int:
        return int(self.study.settings.get("n_masks", 2000))

    def file_name(self, sample: int) -> str:
        """The name of a sample's rows in the study's store; another model or setting gives another name."""
        hashes = [self.study.experiment.runs[role].sha256 for role in self.models]
        about = json.dumps([hashes, self.n_masks, self.study.baseline, _STEPS, _FEWER_SAMPLES])
        return f"faithful-{hashlib.sha256(about.encode()).hexdigest()[:8]}-{sample:06d}.json"

    def rows(self, sample: int, target: int) -> Iterator[dict[str, Any]]:
        """One image's rows: one for each model and method.

        Args:
            sample: Its number in the split.
            target: The class that the study's maps explain.
        """
        samples, experiment = self.study.samples, self.study.experiment
        picture = samples.picture(sample)
        inputs = experiment.preprocess(picture)
        base = experiment.baseline(self.study.baseline, picture)
        maps = self._maps(sample, picture, inputs, target)
        about = {"sample": sample, "label": int(samples.labels[sample]), "target": target}
        for role, model in self.models.items():
            curves = faithfulness_of_maps(_Probabilities(model), inputs, maps[role], target, base, steps=_STEPS)
            for method, result in curves.items():
                areas = {"deletion": result.deletion.auc, "insertion": result.insertion.auc}
                yield {**about, "role": role, "method": method, **areas}

    def _maps(self, sample: int, picture: Any, inputs: Tensor, target: int) -> dict[str, dict[str, Any]]:
        """Role -> method -> map, (H, W), the map that knows no model among them."""
        maps: dict[str, dict[str, Any]] = {role: {TRIVIAL: trivial_map(inputs)} for role in self.models}
        halves = self.study.maps.halves(sample) if self.stored else {}
        for role in self.stored:
            maps[role][_RISE] = halves[role].mean(0)
        for name in methods:
            for role, values in self._explained(picture, target, name).items():
                maps[role][name] = values
        return maps

    def _explained(self, picture: Any, target: int, name: str) -> dict[str, np.ndarray]:
        """Role -> map; empty where the method fails on this picture, as DeepLIFT may."""
        ready = self.stored if name == _RISE else ()
        roles = [role for role, fitting in self.methods.items() if name in fitting and role not in ready]
        if not roles:
            return {}
        names = {setting.name for setting in methods[name].settings}
        given = {"n_masks": self.n_masks, "baseline": self.study.baseline, **_FEWER_SAMPLES.get(name, {})}
        settings: dict[str, Any] = {key: value for key, value in given.items() if key in names}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of one picture's map; the table is about all of them
                maps = explain(self.study.experiment, picture, target, name, roles=roles, device="cpu", **settings)
        except SettingError:
            return {}
        return {role: np.asarray(saliency) for role, saliency in maps.items()}


def _fitting(model: nn.Module) -> list[str]:
    return [name for name in methods if name == _RISE or incompatibility(name, model) is None]


@dataclass(frozen=True)
class _Probabilities:
    model: nn.Module

    def __call__(self, images: Tensor) -> Tensor:
        return self.model(images).softmax(1)


def faithfulness_summary(experiment: Experiment) -> list[dict[str, Any]]:
    """Weighted mean areas by model and method, with the 95 % interval of the difference from the trivial map.

    Student's t of the effective number of images: on 2 to 100 images, of equal and unequal weights, the interval covers
    94 to 99 % where gains are normal, and 91 to 95 % where they are skewed (simulated).

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
    concentration = float((weights**2).sum())  # one over the effective number of images (Kish, 1965)
    quantile = float(student_t.ppf(0.975, max(1 / concentration - 1, 1)))
    summary: dict[str, Any] = {"role": role, "method": method, "images": len(shared)}
    for area, sign in (("deletion", -1), ("insertion", 1)):
        own = np.array([group[sample][area] for sample in shared])
        gain = sign * (own - np.array([trivial[sample][area] for sample in shared]))
        mean = float(weights @ gain)
        error = float((weights**2 @ (gain - mean) ** 2 / (1 - concentration)) ** 0.5)
        summary |= {area: float(weights @ own), f"{area}_gain": mean}
        summary |= {f"{area}_gain_low": mean - quantile * error, f"{area}_gain_high": mean + quantile * error}
    return summary
