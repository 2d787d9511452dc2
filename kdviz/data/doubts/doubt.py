"""One doubt: its figures, and the sentence made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kdviz.core.language import N_, _, listed, number, percent, plural
from kdviz.core.vocabulary import Role, Split

_MODELS: dict[str, str] = {
    Role.TEACHER: N_("The teacher"),
    Role.KD_STUDENT: N_("The KD student"),
    Role.STUDENT: N_("The student alone"),
}
_SPLITS: dict[str, str] = {
    Split.TRAIN: N_("the training split"),
    Split.VALIDATION: N_("the validation split"),
    Split.TEST: N_("the test split"),
    Split.BUNDLED: N_("the bundled digits"),
}
NORMALISATIONS = {
    "unit": N_("values from 0 to 1"),
    "bytes": N_("values from 0 to 255"),
    "half": N_("mean and standard deviation 0.5"),
    "imagenet": N_("ImageNet's mean and standard deviation"),
    "mnist": N_("MNIST's mean and standard deviation"),
}
"""Name of a usual normalisation -> its description."""

_NAMED = 3  # classes in a sentence


@dataclass(frozen=True)
class Doubt:
    """Something that looks wrong with a data set or a model.

    Attributes:
        kind: ``chance`` (no better than chance), ``order`` (another order of the classes scores far better),
            ``normalisation`` (another normalisation does), ``unpredicted`` (labels that are never predicted),
            ``overlap`` (images in two splits), ``labels`` (equal images with different labels), ``left_out`` (files
            that were not read), ``depth`` (how images of more than 8 bits were scaled) or ``dark`` (they use little of
            the range that they declare).
        split: Split of the samples; empty: the whole data set.
        role: Role of the model; empty: all models, or the data alone.
        figures: Name -> value, as JSON stores them; accuracies and shares are in [0, 1].
    """

    kind: str
    split: str = ""
    role: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """One sentence with the figures, in the current language."""
        return _SENTENCES[self.kind](self)

    @property
    def is_of_data(self) -> bool:
        """Whether the doubt concerns the data only, not a model."""
        return self.kind in _DATA_KINDS

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "split": self.split, "role": self.role, "figures": dict(self.figures)}

    @classmethod
    def from_json(cls, entry: Any) -> Doubt | None:
        """Restore what :meth:`to_json` returned; None for an entry that makes no sentence, as of another version."""
        try:
            doubt = cls(str(entry["kind"]), str(entry["split"]), str(entry["role"]), dict(entry["figures"]))
            doubt.text  # noqa: B018  an entry of a foreign file may lack figures, or hold texts in their place
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            return None
        return doubt


# sentences ------------------------------------------------------------------------------------------------------------


def _model(doubt: Doubt) -> str:
    if doubt.role in _MODELS:
        return _(_MODELS[doubt.role])
    return _("The model '{role}'", role=doubt.role)


def _split(name: str) -> str:
    return _(_SPLITS[name]) if name in _SPLITS else _("the split {split}", split=name)


def _quoted(names: list[str]) -> str:
    shown = listed(f"'{name}'" for name in names[:_NAMED])
    more = len(names) - _NAMED
    return shown if more <= 0 else _("{names} and {count} more", names=shown, count=number(more))


def _accuracy(doubt: Doubt) -> dict[str, str]:
    figures = doubt.figures
    return {
        "model": _model(doubt),
        "accuracy": percent(figures["accuracy"]),
        "count": number(figures["samples"]),
        "split": _split(doubt.split),
    }


def _chance(doubt: Doubt) -> str:
    return _(
        "{model} is right on {accuracy} of {count} images of {split}, where guessing as often as it gives each answer "
        "is right on {chance}, and by luck on up to {most}: check the order of its classes, and its input.",
        chance=percent(doubt.figures["chance"]),
        most=percent(doubt.figures["most"]),
        **_accuracy(doubt),
    )


def _order(doubt: Doubt) -> str:
    said, meant = doubt.figures["moved"][0]
    return _(
        "{model} is right on {accuracy} of {count} images of {split}, and would be on {other} with its classes in "
        "another order ({moved} are elsewhere: '{said}' seems to mean '{meant}', for one); put them in the data's "
        "order.",
        other=percent(doubt.figures["other"]),
        moved=number(doubt.figures["classes"]),
        said=said,
        meant=meant,
        **_accuracy(doubt),
    )


def _normalisation(doubt: Doubt) -> str:
    return _(
        "{model} is right on {accuracy} of {count} images of {split} as they are normalised now, and on {other} with "
        "{normalisation}: it seems to have learned from such input.",
        other=percent(doubt.figures["other"]),
        normalisation=_(NORMALISATIONS[doubt.figures["normalisation"]]),
        **_accuracy(doubt),
    )


def _unpredicted(doubt: Doubt) -> str:
    values = {
        "names": _quoted(doubt.figures["classes"]),
        "count": number(doubt.figures["samples"]),
        "total": number(doubt.figures["total"]),
        "split": _split(doubt.split),
    }
    if doubt.role:
        return _(
            "{model} never answers {names}, though {count} of {total} images of {split} are labelled so.",
            model=_model(doubt),
            **values,
        )
    return _("No model ever answers {names}, though {count} of {total} images of {split} are labelled so.", **values)


def _overlap(doubt: Doubt) -> str:
    figures = doubt.figures
    first, second = figures["examples"][0]
    return _(
        "{count} of {total} images ({share}) of {split} are also in {other}, pixel for pixel (the first is '{first}', "
        "there '{second}'), so that figures of {split} are too good.",
        count=number(figures["count"]),
        total=number(figures["samples"]),
        share=percent(figures["count"] / figures["samples"]),
        split=_split(doubt.split),
        other=_split(figures["other"]),
        first=first,
        second=second,
    )


def _labels(doubt: Doubt) -> str:
    first, label, second, other = doubt.figures["example"]
    return plural(
        "{count} image is there several times with different labels, pixel for pixel (the first is '{first}', "
        "'{label}', and '{second}', '{other}'): some of these labels are wrong.",
        "{count} images are there several times with different labels, pixel for pixel (the first is '{first}', "
        "'{label}', and '{second}', '{other}'): some of these labels are wrong.",
        doubt.figures["count"],
        first=first,
        label=label,
        second=second,
        other=other,
    )


def _kinds(counts: Mapping[str, int]) -> list[str]:
    return [
        f"{number(count)} {ending}" if ending else _("{count} without an ending", count=number(count))
        for ending, count in counts.items()
    ]


def _left_out(doubt: Doubt) -> str:
    elsewhere = [_("{files} of no class", files=text) for text in _kinds(doubt.figures["elsewhere"])]
    return _("Files left out: {files}.", files=listed(_kinds(doubt.figures["endings"]) + elsewhere))


def _depth(doubt: Doubt) -> str:
    counts = doubt.figures["depths"]
    integers = [
        _("{count} of {bits} bits by {white}", count=number(count), bits=bits, white=number(2 ** int(bits) - 1))
        for bits, count in counts.items()
        if bits != "float"
    ]
    floats = []
    if "float" in counts:
        floats = [_("{count} of floating point are taken as 0 to 1", count=number(counts["float"]))]
    return _(
        "{count} of {total} images have more than 8 bits a value and are divided by what their files declare as white, "
        "whatever their brightest pixel is: {kinds}.",
        count=number(sum(counts.values())),
        total=number(doubt.figures["samples"]),
        kinds=listed(integers + floats),
    )


def _dark(doubt: Doubt) -> str:
    return _(
        "No pixel of the {count} images with more than 8 bits a value is above {peak} of the white that they declare, "
        "so that they look dark; if they hold fewer bits, save them scaled to 16.",
        count=number(doubt.figures["samples"]),
        peak=percent(doubt.figures["peak"]),
    )


_SENTENCES: dict[str, Callable[[Doubt], str]] = {
    "chance": _chance,
    "order": _order,
    "normalisation": _normalisation,
    "unpredicted": _unpredicted,
    "overlap": _overlap,
    "labels": _labels,
    "left_out": _left_out,
    "depth": _depth,
    "dark": _dark,
}
_DATA_KINDS = ("overlap", "labels", "left_out", "depth", "dark")
