"""What a model takes and gives, and where it comes from, in words."""

from __future__ import annotations

from kdviz.app.library import OpenExperiment
from kdviz.app.widgets.html import text
from kdviz.core.language import N_, _, number, plural
from kdviz.figures import role_title
from kdviz.models.inputs import InputSpec
from kdviz.studies.comparison import inventory
from kdviz.studies.comparison.inventory import ModelCard

_INTERPOLATIONS = {
    "nearest": N_("nearest pixel"),
    "bilinear": N_("bilinear"),
    "bicubic": N_("bicubic"),
    "lanczos": N_("Lanczos"),
}
_FROM = {
    "given": N_("as you said"),
    "file": N_("said by the file"),
    "config": N_("said by its configuration"),
    "matched": N_("found by names and shapes of its tensors"),
    "library": N_("usual for these weights in their library"),
    "guessed": N_("a guess"),
}
"""How an import came to know a network or an input."""
_MOST_CLASSES = 12
NOTHING = '<span class="none">–</span>'
"""HTML of a value that is not known."""


def pixels(spec: InputSpec) -> str:
    """``64 × 64 pixels, RGB``."""
    height, width = spec.size
    colour = _("grey") if spec.channels == 1 else _("RGB")
    return _("{width} × {height} pixels, {colour}", width=width, height=height, colour=colour)


def resized(spec: InputSpec) -> str:
    """How a picture of another size becomes the input."""
    if isinstance(spec.resize, int):
        return _(
            "short side resized to {short} pixels ({interpolation}), the middle cut out",
            short=spec.resize,
            interpolation=_(_INTERPOLATIONS[spec.interpolation]),
        )
    if spec.resize is None:
        return fitted(spec.fit)
    return _(
        "the whole picture resized, its proportions lost ({interpolation})",
        interpolation=_(_INTERPOLATIONS[spec.interpolation]),
    )


def normalisation(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """How values are normalised."""
    if set(mean) == {0.0} and set(std) == {1.0}:
        return _("values from 0 to 1, as they are")
    return _(
        "values from 0 to 1, mean {mean}, standard deviation {std}",
        mean=" / ".join(number(value, 3) for value in mean),
        std=" / ".join(number(value, 3) for value in std),
    )


def fitted(fit: str) -> str:
    """How a picture of another size becomes the input, by :attr:`InputSpec.fit`."""
    if fit == "digit":
        return _("the digit is cut out, made white on black and centred, as in MNIST")
    return _("the short side is resized and the middle cut out")


def network_of(card: ModelCard) -> str:
    """A model's network as HTML, with how it is known."""
    if card.spec is None:
        return text(_("predictions alone"))
    return f"<code>{text(card.network)}</code>{_known_from(card, 'network_from')}"


def _known_from(card: ModelCard, name: str) -> str:
    source = card.origin.get(name)
    return f' <span class="soft">{text(_(_FROM[source]))}</span>' if source in _FROM else ""


def model_facts(opened: OpenExperiment, role: str) -> list[tuple[str, str]]:
    """Titles with values as HTML: a model's network, input, classes and file, and how they are known."""
    card = next(card for card in inventory.cards(opened.experiment) if card.role == role)
    return [(_("Network"), network_of(card)), *input_facts(card)]


def input_facts(card: ModelCard) -> list[tuple[str, str]]:
    """Titles with values as HTML: what this model takes and gives, and where it comes from; the same titles for all."""
    values = dict.fromkeys((_("Its input"), _("Its pictures"), _("Normalisation"), _("Its classes")), NOTHING)
    if card.spec is not None:
        texts = [
            text(pixels(card.spec)) + _known_from(card, "input_from"),
            text(resized(card.spec)),
            text(normalisation(card.spec.mean, card.spec.std)),
            text(_class_order(card)),
        ]
        values = dict(zip(values, texts, strict=True))
    origin = " ".join(filter(None, (card.made_by, card.parent and _("from {model}", model=role_title(card.parent)))))
    notes = card.origin.get("notes") or ()
    values |= {
        _("File"): f"<code>{text(card.origin['file'])}</code>" if card.origin.get("file") else NOTHING,
        _("Made of"): text(origin) if origin else NOTHING,
        _("Notes"): "<br>".join(text(note) for note in notes) if notes else NOTHING,
    }
    return list(values.items())


def _class_order(card: ModelCard) -> str:
    if card.class_order is None:
        return _("as in the experiment")
    first = ", ".join(map(str, card.class_order[:_MOST_CLASSES]))
    order = first if len(card.class_order) <= _MOST_CLASSES else f"{first} …"
    if card.outputs == len(card.class_order):
        return _("in another order: its outputs {order}", order=order)
    outputs = plural("{count} output", "{count} outputs", card.outputs or 0)
    return _("{outputs}, of which these are the experiment's: {order}", outputs=outputs, order=order)
