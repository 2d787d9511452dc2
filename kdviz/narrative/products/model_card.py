"""The model card of an export: what a model is, what was measured of it, what is doubtful, and what is not known.

It is in English, as it goes to people and programs elsewhere. What the experiment does not record is said not to be
known, and never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdviz.compress.cost import Form, wilson
from kdviz.compress.export.contents import FLOAT_FILE, INSIDE, ExportedFile
from kdviz.compress.export.contents import Export as Made
from kdviz.core.language import ENGLISH, interval_digits, number, percent, speaking
from kdviz.core.vocabulary import Role
from kdviz.data.doubts.record import recorded_doubts
from kdviz.data.samples import SPLITS
from kdviz.narrative.markdown import table

_UNKNOWN = "not known"
_ROLES: Mapping[str, str] = {
    Role.TEACHER: "the teacher",
    Role.KD_STUDENT: "the student distilled from the teacher",
    Role.STUDENT: "the student trained without a teacher",
}
_FORMS: Mapping[str, str] = {
    Form.ONNX: "ONNX, float32",
    Form.ONNX_INT8: "ONNX, int8",
    Form.FILE: "ONNX, the network as it was given",
    Form.OPENVINO: "OpenVINO, float32 (with model.bin)",
    Form.EXECUTORCH: "ExecuTorch (XNNPACK), float32, one picture a call",
    Form.LITERT: "LiteRT, float32, one picture a call",
}
_FACTS: Mapping[str, str] = {
    "train_samples": "training images",
    "validation_samples": "validation images",
    "selected_by": "best epoch by",
    "epochs": "epochs",
    "loss": "loss against the teacher",
    "temperature": "temperature",
    "alpha": "weight of the teacher (alpha)",
    "feature_loss": "loss between layers",
    "augment": "augmentation",
    "pseudo_labels": "pseudo-labels from",
    "weights_from": "first weights",
    "optimizer": "optimiser",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "seed": "seed",
    "data": "fingerprint of the training data",
}
_WITHOUT = ("", None, [], {}, "none")  # values that say nothing
_MOST_CLASSES = 20


def model_card(made: Made) -> str:
    """The card of an export, Markdown."""
    with speaking(ENGLISH):
        parts = [
            f"# {_title(made)}\n\n{_summary(made)}",
            f"## Files\n\n{_files(made)}",
            f"## Use\n\n{_use(made)}",
            f"## Data\n\n{_data(made)}",
            f"## Figures\n\n{_figures(made)}",
            f"## Doubts\n\n{_doubts(made)}",
            f"## Training\n\n{_training(made)}",
            f"## Licence\n\n{_licence(made)}",
            f"## Hashes\n\n{_hashes(made)}",
        ]
    return "\n\n".join(parts) + "\n"


def _title(made: Made) -> str:
    name = made.run.title or _ROLES.get(made.run.role, made.run.role)
    return f"{_line(name[:1].upper() + name[1:])}, {_line(made.experiment.title or made.experiment.name)}"


def _summary(made: Made) -> str:
    run, sentences = made.run, []
    size = "" if made.parameters is None else f" with {number(made.parameters)} parameters"
    sentences.append(
        f"A classifier of {number(len(made.experiment.classes))} classes: `{_code(run.network)}`{size}, role "
        f"`{run.role}` of the experiment `{_code(made.experiment.name)}`."
    )
    if run.parent:
        sentences.append(f"It was made from `{run.parent}`{f' ({_line(run.made_by)})' if run.made_by else ''}.")
    if made.operations is not None:
        more = " and some that could not be counted" if made.operations.uncounted else ""
        count = number(made.operations.flops / 1e6, 2)
        sentences.append(f"One picture needs {count} million floating point operations{more}.")
    return " ".join(sentences)


def _files(made: Made) -> str:
    rows = [
        [
            f"`{file.name}`",
            f"{_FORMS[file.form]}, opset {made.opset}" if file.name.endswith(".onnx") else _FORMS[file.form],
        ]
        for file in made.files
    ]
    rows += [
        ["`labels.json`", "names of the classes, in the order of the scores"],
        ["`example.py`", "from the file of a picture to an answer, in ten lines"],
        ["`check.py`, `check.npz`", f"{_checked(made)} and the answers that they got here"],
        ["`export.json`", "all of this for programs"],
    ]
    return table(["file", "what it is"], rows)


def _checked(made: Made) -> str:
    kind = "images of noise, since no pictures are kept," if made.invented else "pictures"
    return f"{number(len(made.pictures))} {kind}"


def _use(made: Made) -> str:
    spec, (height, width) = made.run.spec, made.run.spec.size
    if made.settings.preprocessing == INSIDE:
        given = (
            f"The files take pictures as they are, `uint8 (N, {height}, {width}, {spec.channels})`, {_colours(made)}; "
            "they scale and normalise them."
        )
    else:
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (spec.mean, spec.std))
        given = (
            f"The files take `float32 (N, {spec.channels}, {height}, {width})`, {_colours(made)}: values in [0, 1], "
            f"less {mean}, divided by {std}."
        )
    scores = {
        "logits": "logits; a softmax makes shares of them",
        "probabilities": "probabilities",
        "sigmoid": "a sigmoid for each class",
    }
    return (
        f"{given} N is any number. {_resizing(made)} They answer with scores `(N, {len(made.experiment.classes)})`: "
        f"{scores[made.output]}.\n\n"
        "```\npip install onnxruntime numpy pillow\npython example.py PICTURE\n"
        "python check.py           # the recorded answers, bit for bit, or by how much they differ\n"
        "python check.py --time    # what it costs on this device, as a line of JSON\n```"
    )


def _colours(made: Made) -> str:
    return "grey" if made.run.spec.channels == 1 else "red, green and blue"


def _resizing(made: Made) -> str:
    spec = made.run.spec
    if spec.fit == "digit":
        return "A digit is white on black and centred, as in MNIST."
    if spec.resize is None:
        return "A picture of another size is resized (bicubic) until it covers this one, and its centre is cut out."
    if isinstance(spec.resize, tuple):
        return f"A picture is resized to this size ({spec.interpolation}), whatever its proportions."
    return (
        f"A picture is resized ({spec.interpolation}) until its short side has {spec.resize} pixels, and its centre "
        "is cut out."
    )


def _data(made: Made) -> str:
    experiment, training = made.experiment, made.run.training
    classes = [f"`{_code(name)}`" for name in experiment.classes[:_MOST_CLASSES]]
    more = len(experiment.classes) - len(classes)
    names = ", ".join(classes) + (f" and {number(more)} more" if more > 0 else "")
    trained = training.get("train_samples")
    known = (
        f"Trained on {number(trained)} images" if isinstance(trained, int) else "What it was trained on is not known"
    )
    title = _line(experiment.title or experiment.dataset)
    return f"Data set: {title} (`{_code(experiment.dataset)}`). {known}.\n\nClasses: {names}."


# figures --------------------------------------------------------------------------------------------------------------


def _figures(made: Made) -> str:
    parts = [part for part in (_recorded(made), _measured(made)) if part]
    if made.difference is not None:
        parts.append(
            f"On the pictures of the check the scores of `{FLOAT_FILE}` differ from those of the network in PyTorch by "
            f"at most {made.difference:.1g}."
        )
    return "\n\n".join(parts or ["Its accuracy is not known: it was never measured on labelled pictures here."])


def _recorded(made: Made) -> str:
    """The figures of the experiment's record, in PyTorch."""
    rows = []
    for split in SPLITS:
        metrics = made.run.metrics.get(split, {})
        if "accuracy" not in metrics:
            continue
        count = int(metrics.get("samples", 0))
        cells = [metrics.get(name) for name in ("f1", "auc", "loss", "ece")]
        texts = [_UNKNOWN if value is None else number(value, 4) for value in cells]
        rows.append([split, number(count) if count else _UNKNOWN, _accuracy(metrics["accuracy"], count), *texts])
    if not rows:
        return ""
    heads = ["split", "samples", "accuracy (95 % interval)", "F1", "AUC", "loss", "ECE"]
    return f"As the experiment records them, of the network in PyTorch:\n\n{table(heads, rows)}"


def _measured(made: Made) -> str:
    """What was measured with the exported files themselves."""
    rows = [
        [f"`{file.name}`", number(made.samples), _of_file(file), _others(file, made.samples)]
        for file in made.files
        if made.samples
    ]
    if not rows:
        return ""
    heads = ["file", "samples", "accuracy (95 % interval)", f"other answers than `{FLOAT_FILE}`"]
    return (
        f"Measured with these files, on samples of the split `{_code(made.split)}`; the ranges of int8 were found on "
        f"other pictures:\n\n{table(heads, rows)}"
    )


def _of_file(file: ExportedFile) -> str:
    return _UNKNOWN if file.right is None else _accuracy(float(file.right.mean()), len(file.right))


def _others(file: ExportedFile, samples: int) -> str:
    if file.form != Form.ONNX_INT8 or file.different is None:
        return "–"
    return f"{number(file.different)}: {_accuracy(file.different / samples, samples)}"


def _accuracy(share: float, count: int) -> str:
    """A share with Wilson's interval, with so many decimals that its lower end is not shown as 0 if it is above."""
    if not count:
        return percent(share, 2)
    low, high = wilson(share, count)
    digits = interval_digits(100 * low, 100 * high, 2)
    return f"{percent(share, digits)} ({percent(low, digits)} to {percent(high, digits)})"


# what is doubtful, and what is known ----------------------------------------------------------------------------------


def _doubts(made: Made) -> str:
    doubts = [doubt.text for doubt in recorded_doubts(made.experiment) if doubt.role in ("", made.run.role)]
    lines = [*doubts, *map(str, made.notes), *_limits(made)]
    return "\n".join(f"- {_line(text)}" for text in lines)


def _limits(made: Made) -> Iterator[str]:
    if made.experiment.is_imported and (made.samples or made.run.metrics):
        yield "The model was trained elsewhere: whether it has learned from the measured samples is not known."
    if made.split == "bundled":
        yield "The bundled digits are from MNIST's training file, but no model was trained on them."
    yield "Figures hold for pictures like those that were measured; nothing is known of others."


def _training(made: Made) -> str:
    rows = [[title, _fact(made.run.training[key])] for key, title in _FACTS.items() if _is_known(made, key)]
    return table(["setting", "value"], rows) if rows else f"How it was trained is {_UNKNOWN}."


def _is_known(made: Made, key: str) -> bool:
    return made.run.training.get(key) not in _WITHOUT


def _fact(value: Any) -> str:
    return number(value) if isinstance(value, int) and not isinstance(value, bool) else f"`{_code(str(value))}`"


def _licence(made: Made) -> str:
    source = made.run.training.get("weights_from")
    if source:
        return (
            f"Of these weights: {_UNKNOWN}. Training began with weights from `{_code(str(source))}`, whose licence "
            "has to be kept, too."
        )
    return f"Of these weights: {_UNKNOWN}; the experiment does not record one. Ask whoever trained them."


def _hashes(made: Made) -> str:
    rows = [[f"`{file.name}`", f"`{file.sha256}`"] for file in made.files]
    rows.append(["the weights in the experiment", f"`{made.run.sha256}`" if made.run.sha256 else _UNKNOWN])
    return table(["file", "SHA-256"], rows)


def _line(text: str) -> str:
    """A text of the experiment in one line, in which Markdown and HTML have no meaning."""
    plain = " ".join(str(text).split())
    for mark in "\\`*_[]<>|#!":
        plain = plain.replace(mark, f"\\{mark}" if mark != "<" else "&lt;")
    return plain


def _code(text: str) -> str:
    """A text between backticks in one line, which ends neither there nor a table's cell."""
    return " ".join(str(text).split()).replace("`", "'").replace("|", "/")
