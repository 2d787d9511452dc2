"""Validation of experiment.json: every field is checked, and an error names the field that is wrong."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdviz.core.errors import ExperimentError, Sentence
from kdviz.experiment.run import PREDICTIONS, ROLE_NAME, Run
from kdviz.experiment.training_record import wrong_setting
from kdviz.experiment.values import LONG, MOST_CLASSES, SHORT, is_number, record_problem, shown, text_problem
from kdviz.models.inputs import INTERPOLATIONS, InputSpec
from kdviz.models.networks import ONNX, RENORMALISED, libraries, networks

MOST_BYTES = 64 * 1024 * 1024
"""The largest experiment.json that is read; that of ImageNet-21k has 2 MB."""

SMALLEST_STD, LARGEST_SHIFT = 1e-6, 1e6
"""Bounds of an input's ``std`` and ``mean``: with smaller or larger ones nothing is left of a picture in float32."""

_SHARES = ("accuracy", "f1", "auc", "ece", "same_as_teacher", "inherited_errors")  # metrics that go from 0 to 1
_ROUNDING = 1e-6
_MOST_SPLITS, _MOST_METRICS = 100, 100
_DIGITS = re.compile(r"\+?[0-9]{1,9}")


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        ExperimentError: It is missing, far too large, or holds something else.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ExperimentError(
                "'{path}' is larger than {most} MB, which no experiment.json is; restore it or train the experiment "
                "again.",
                path=path,
                most=MOST_BYTES // 2**20,
            )
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExperimentError(
            "'{path}' is not valid JSON; restore it or train the experiment again.", path=path
        ) from error
    if not isinstance(document, dict):
        raise ExperimentError("'{path}' must hold a JSON object.", path=path)
    return document


class Checker:
    """Reads fields of experiment.json and raises an error that names the field if one is wrong."""

    def __init__(self, folder: Path):
        self.folder = folder

    def that(self, fine: bool, name: str, problem: str, /, **values: Any) -> None:
        if not fine:
            whole = "The experiment '{folder}' is refused: field '{field}' {}."
            raise ExperimentError(Sentence(problem, **values).within(whole, folder=self.folder, field=shown(name)))

    def refuse(self, name: str, problem: Sentence | None) -> None:
        """Raise an error if there is a problem with a field; see :mod:`kdviz.experiment.values`."""
        if problem is not None:
            whole = "The experiment '{folder}' is refused: field '{field}' {}."
            raise ExperimentError(problem.within(whole, folder=self.folder, field=shown(name)))

    def text(self, mapping: Mapping[str, Any], key: str, prefix: str = "") -> str:
        """A text of one line that is not empty."""
        value = mapping.get(key)
        self.that(isinstance(value, str) and bool(value), prefix + key, "must be a text")
        self.refuse(prefix + key, text_problem(str(value), SHORT))
        return str(value)

    def strings(self, mapping: Mapping[str, Any], key: str) -> list[str]:
        value = mapping.get(key)
        is_valid = isinstance(value, list) and len(value) >= 2 and all(isinstance(item, str) for item in value)
        self.that(is_valid, key, "must be a list of two or more texts")
        names: list[str] = list(value)  # type: ignore[arg-type]
        self.that(len(set(names)) == len(names), key, "must not repeat a class")
        self.that(len(names) <= MOST_CLASSES, key, "must have at most {most} classes", most=MOST_CLASSES)
        for number, name in enumerate(names):
            self.refuse(f"{key}[{number}]", text_problem(name, LONG))
        return names

    def optional_text(self, mapping: Mapping[str, Any], key: str, prefix: str = "") -> str:
        value = mapping.get(key, "")
        self.that(isinstance(value, str), prefix + key, "must be a text")
        self.refuse(prefix + key, text_problem(str(value), LONG))
        return str(value)

    def record(self, mapping: Mapping[str, Any], key: str, prefix: str) -> dict[str, Any]:
        """An object whose values are all in bounds; empty if the field is not there."""
        value = mapping.get(key, {})
        name = prefix + key
        self.that(isinstance(value, dict), name, "must be an object of finite values")
        wrong = record_problem(value)
        if wrong is not None:
            self.refuse(name + wrong[0], wrong[1])
        return dict(value)

    def sides(self, value: Any, name: str) -> tuple[int, int]:
        """Height and width from a list of two whole numbers."""
        is_valid = isinstance(value, list) and len(value) == 2 and all(is_number(side) for side in value)
        is_valid = is_valid and all(side == int(side) and 1 <= side <= 4096 for side in value)
        self.that(is_valid, name, "must be two whole numbers from 1 to 4096")
        return int(value[0]), int(value[1])

    def numbers(self, mapping: Mapping[str, Any], key: str, count: int, name: str) -> tuple[float, ...]:
        value = mapping.get(key)
        is_valid = isinstance(value, list) and len(value) == count and all(is_number(item) for item in value)
        self.that(is_valid, name, "must be a list of {count} finite numbers", count=count)
        return tuple(float(item) for item in value)  # type: ignore[union-attr]


def input_spec(check: Checker, entry: Any, name: str = "input") -> InputSpec:
    """Read an input from a document; ``name`` is the name of its field."""
    check.that(isinstance(entry, dict), name, "must be an object")
    channels = entry.get("channels")
    check.that(type(channels) is int and channels in (1, 3), f"{name}.channels", "must be 1 or 3")
    size = check.sides(entry.get("size"), f"{name}.size")
    std = check.numbers(entry, "std", channels, f"{name}.std")
    check.that(min(std) > 0, f"{name}.std", "must be above zero")
    is_usual = min(std) >= SMALLEST_STD and max(std) <= 1 / SMALLEST_STD
    check.that(is_usual, f"{name}.std", "must be from {low:g} to {high:g}", low=SMALLEST_STD, high=1 / SMALLEST_STD)
    fit = entry.get("fit", "crop")
    check.that(fit in ("crop", "digit"), f"{name}.fit", "must be 'crop' or 'digit'")
    check.that(
        fit == "crop" or (*size, channels) == (28, 28, 1), f"{name}.fit", "can be 'digit' for 28 x 28 grey pixels only"
    )
    mean = check.numbers(entry, "mean", channels, f"{name}.mean")
    is_usual = max(map(abs, mean)) <= LARGEST_SHIFT
    check.that(is_usual, f"{name}.mean", "must be from {low:g} to {high:g}", low=-LARGEST_SHIFT, high=LARGEST_SHIFT)
    interpolation = entry.get("interpolation", "bicubic")
    check.that(
        interpolation in INTERPOLATIONS,
        f"{name}.interpolation",
        "must be one of {interpolations}",
        interpolations=", ".join(INTERPOLATIONS),
    )
    return InputSpec(size, channels, mean, std, fit, _resize(check, entry.get("resize"), name), interpolation)


def _resize(check: Checker, value: Any, name: str) -> int | tuple[int, int] | None:
    if value is None or isinstance(value, list):
        return None if value is None else check.sides(value, f"{name}.resize")
    return check.sides([value, value], f"{name}.resize")[0]


def run_of(check: Checker, entry: Any, name: str, folder: Path, picture: InputSpec, classes: int, version: int) -> Run:
    """Read a run from an experiment's list.

    Args:
        check: Checker of the experiment's folder.
        entry: Entry of the list.
        name: Name of its field.
        folder: The experiment's folder.
        picture: The experiment's common picture.
        classes: Number of the experiment's classes.
        version: Version of the format.
    """
    check.that(isinstance(entry, dict), name, "must be an object")
    prefix = f"{name}."
    role = check.text(entry, "role", prefix)
    check.that(ROLE_NAME.fullmatch(role) is not None, prefix + "role", "has characters that a role must not have")
    network = _network(check, entry, prefix, version)
    training = check.record(entry, "training", prefix)
    wrong = wrong_setting(training)
    if wrong is not None:
        check.refuse(f"{prefix}training.{wrong[0]}", wrong[1])
    metrics = _metrics(check, entry, prefix)
    weights, digest = ("", "") if network == PREDICTIONS else _file(check, entry, prefix)
    run = Run(role, network, weights, digest, training, metrics, folder, picture, classes)
    if version == 1:
        return run
    own_input = input_spec(check, entry["input"], f"{prefix}input") if "input" in entry else picture
    logits, order = _classes(check, entry, prefix, classes)
    settings = check.record(entry, "settings", prefix)
    texts = {key: check.optional_text(entry, key, prefix) for key in ("title", "parent", "made_by")}
    return replace(
        run, spec=own_input, n_classes=logits, picture=picture, class_order=order, settings=settings, **texts
    )


def _metrics(check: Checker, entry: Mapping[str, Any], prefix: str) -> dict[str, dict[str, float]]:
    """Split -> name -> number, each in its range."""
    metrics, field = entry.get("metrics", {}), f"{prefix}metrics"
    is_valid = isinstance(metrics, dict) and all(
        isinstance(numbers, dict) and all(is_number(number) for number in numbers.values())
        for numbers in metrics.values()
    )
    check.that(is_valid, field, "must hold finite numbers by split and name")
    is_valid = len(metrics) <= _MOST_SPLITS and all(len(numbers) <= _MOST_METRICS for numbers in metrics.values())
    check.that(is_valid, field, "must have at most {most} splits and metrics", most=_MOST_METRICS)
    for split, numbers in metrics.items():
        check.refuse(f"{field}.{split}", text_problem(split, SHORT))
        for name, number in numbers.items():
            check.refuse(f"{field}.{split}.{name}", text_problem(name, SHORT))
            is_valid = name not in _SHARES or -_ROUNDING <= number <= 1 + _ROUNDING
            check.that(is_valid, f"{field}.{split}.{name}", "must be from 0 to 1")
            check.that(name != "samples" or number >= 0, f"{field}.{split}.{name}", "must be at least 0")
    return metrics


def _network(check: Checker, entry: Mapping[str, Any], prefix: str, version: int) -> str:
    network = check.text(entry, "network", prefix)
    base_name = network.removesuffix(RENORMALISED)
    is_known = base_name in networks or network == ONNX or (version > 1 and network == PREDICTIONS)
    name, slash, _ = base_name.partition("/")
    if slash and name in libraries:  # format 1 has no settings, without which some libraries build nothing
        is_known = version > 1 or libraries[name].settings is not None
    check.that(is_known, prefix + "network", "must be a network of kdviz, or torchvision/NAME, timm/NAME or onnx")
    return network


def _file(check: Checker, entry: Mapping[str, Any], prefix: str) -> tuple[str, str]:
    """The name and the recorded SHA-256 of the weights file."""
    weights = check.text(entry, "weights", prefix)
    suffix = ".onnx" if entry.get("network") == ONNX else ".safetensors"
    is_valid = ROLE_NAME.fullmatch(weights) is not None and weights.endswith(suffix)
    check.that(is_valid, prefix + "weights", "must be the name of a {suffix} file in the same folder", suffix=suffix)
    return weights, check.text(entry, "sha256", prefix)


def _classes(check: Checker, entry: Mapping[str, Any], prefix: str, classes: int) -> tuple[int, tuple[int, ...] | None]:
    """The number of the network's logits, and the logit of each class of the experiment (None: in order)."""
    order = entry["input"].get("class_order") if "input" in entry else None
    logits = entry.get("logits", classes)
    is_valid = type(logits) is int and 1 <= logits <= 1_000_000 and (logits == classes or order is not None)
    check.that(
        is_valid, prefix + "logits", "must be {classes}, the number of classes, or have a class_order", classes=classes
    )
    if order is None:
        return logits, None
    is_valid = isinstance(order, list) and len(order) == classes and all(type(index) is int for index in order)
    is_valid = is_valid and len(set(order)) == classes and min(order) >= 0 and max(order) < logits
    check.that(
        is_valid,
        prefix + "input.class_order",
        "must be {classes} different numbers below {logits}",
        classes=classes,
        logits=logits,
    )
    return logits, tuple(order)


def as_index(value: object) -> int:
    """An integer, or a text of digits, as int; -1 for anything else."""
    if isinstance(value, str):
        return int(value) if _DIGITS.fullmatch(value) else -1
    try:
        return -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return -1
