"""The settings of a training that kdviz knows by name, and what each may be in experiment.json.

A record may hold further settings, such as those of a plugin: they are shown and never computed with, so that their
values only have to be in bounds (:mod:`kdviz.experiment.values`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kdviz.core.errors import Sentence
from kdviz.experiment.values import LONG, is_name, is_number, is_whole

_MOST_STEPS, _MOST_SEED = 10**9, 2**31 - 1
_SHOWN_TO = ("all", "teacher", "random", "students")


def wrong_setting(training: Mapping[str, Any]) -> tuple[str, Sentence] | None:
    """The name of the first setting whose value is of another kind than kdviz writes, and what it must be.

    Args:
        training: A training record, every value of which is in bounds.

    Returns:
        None if all are as they must be.
    """
    for name, value in training.items():
        kind = _KINDS.get(name)
        if kind is not None and not _CHECKS[kind](value):
            return name, _requirement(kind)
    return None


def _requirement(kind: str) -> Sentence:
    """What a setting of a kind must be."""
    texts = {
        "count": "must be a whole number from 0 to a thousand million",
        "perhaps_count": "must be null, or a whole number from 0 to a thousand million",
        "seed": "must be a whole number from 0 to 2^31 - 1",
        "size": "must be a number from 0 to a thousand million",
        "schedule": "must be a number of at least 0, or a text of one line",
        "name": "must be a text of one line, of at most 200 characters",
        "path": "must be a text of one line",
        "flag": "must be true or false",
        "options": "must be an object of numbers",
        "weights": "must be a list of numbers of at least 0",
        "texts": "must be a list of texts",
        "list": "must be a list",
        "shortcut": "must be a shortcut as kdviz train --plant records it",
        "origin": "must be an object of texts",
    }
    return Sentence(texts[kind])


def _is_schedule(value: Any) -> bool:
    return is_name(value) if isinstance(value, str) else is_number(value, 0, _MOST_STEPS)


def _are_options(value: Any) -> bool:
    sizes = value.values() if isinstance(value, dict) else [None]
    return all(is_number(size, -_MOST_STEPS, _MOST_STEPS) for size in sizes)


def _are_weights(value: Any) -> bool:
    return isinstance(value, list) and all(is_number(weight, 0, _MOST_STEPS) for weight in value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_shortcut(value: Any) -> bool:
    """Whether this is what ``PlantedShortcut.to_json`` writes; its class checks whether the kind is known."""
    kinds: dict[str, Callable[[Any], bool]] = {
        "kind": is_name,
        "share": lambda share: is_number(share, 1e-6, 1),
        "shown_to": lambda name: isinstance(name, str) and name in _SHOWN_TO,
        "seed": lambda seed: is_whole(seed, 0, _MOST_SEED),
    }
    if not isinstance(value, dict) or "kind" not in value or not value.keys() <= kinds.keys():
        return False
    return all(kinds[name](part) for name, part in value.items())


def _is_origin(value: Any) -> bool:
    """Whether this says where an imported model came from: texts, and lists of texts."""
    parts = value.values() if isinstance(value, dict) else [0]
    return all(part is None or isinstance(part, str) or _are_texts(part) for part in parts)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "count": lambda value: is_whole(value, 0, _MOST_STEPS),
    "perhaps_count": lambda value: value is None or is_whole(value, 0, _MOST_STEPS),
    "seed": lambda value: is_whole(value, 0, _MOST_SEED),
    "size": lambda value: is_number(value, 0, _MOST_STEPS),
    "schedule": _is_schedule,
    "name": is_name,
    "path": lambda value: is_name(value, LONG),
    "flag": lambda value: isinstance(value, bool),
    "options": _are_options,
    "weights": _are_weights,
    "texts": _are_texts,
    "list": lambda value: isinstance(value, list),
    "shortcut": _is_shortcut,
    "origin": _is_origin,
}

_SETTINGS_OF = {
    "count": "epochs batch_size train_samples validation_samples views transfer_steps labelled",
    "perhaps_count": "kd_epochs",
    "seed": "seed weights_seed",
    "size": "learning_rate label_smoothing feature_weight weight_decay pseudo_labels",
    "schedule": "temperature alpha",
    "name": "loss feature_loss student_layer teacher_layer class_weights augment optimizer learning_rate_schedule "
    "device bf16 selected_by torch python data transfer_data unfreeze",
    "path": "transfer_set weights_from start",
    "flag": "continues trained mutual",
    "options": "loss_options feature_options",
    "weights": "teacher_mix",
    "texts": "taught_by",
    "list": "doubts",
    "shortcut": "planted",
    "origin": "import",
}
_KINDS = {name: kind for kind, names in _SETTINGS_OF.items() for name in names.split()}
"""Setting -> its kind."""
