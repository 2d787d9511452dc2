"""The example that goes with an export: ten lines from a picture's file to an answer."""

from __future__ import annotations

from kdviz.compress.export.contents import FLOAT_FILE, INSIDE, Export
from kdviz.models.inputs import InputSpec

_START = '''"""Classify a picture: python example.py PICTURE (needs onnxruntime, numpy and Pillow)."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

folder = Path(__file__).resolve().parent
labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
'''


def example_script(made: Export) -> str:
    """The content of example.py."""
    spec = made.run.spec
    lines = [
        f'picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("{"L" if spec.channels == 1 else "RGB"}")',
        *resizing(spec),
        _inputs(made),
        f'session = onnxruntime.InferenceSession(str(folder / "{FLOAT_FILE}"), providers=["CPUExecutionProvider"])',
        "scores = session.run(None, {session.get_inputs()[0].name: inputs})[0][0]",
        *_shares(made.output),
        "for index in np.argsort(-shares)[:3]:",
        '    print(f"{labels[index]}: {shares[index]:.2%}")',
    ]
    return _START + "\n".join(lines) + "\n"


def resizing(spec: InputSpec) -> list[str]:
    """Lines that bring ``picture`` to the size of the input, as :meth:`InputSpec.transform` does, digits excepted."""
    (height, width), method = spec.size, f"Image.Resampling.{spec.interpolation.upper()}"
    if spec.fit == "digit":
        return [
            "# As MNIST has them: white on black, centred. kdviz itself also finds the digit in a photograph.",
            f"picture = picture.resize(({width}, {height}), Image.Resampling.BICUBIC)",
        ]
    if spec.resize is None:
        return [f"picture = ImageOps.fit(picture, ({width}, {height}), Image.Resampling.BICUBIC)"]
    if isinstance(spec.resize, tuple):
        lines = [f"picture = picture.resize(({spec.resize[1]}, {spec.resize[0]}), {method})"]
    else:
        sides = f"int({spec.resize} * side / min(picture.size)) for side in picture.size"
        lines = [f"picture = picture.resize(tuple({sides}), {method})"]
    if spec.resize == spec.size:
        return lines
    crop = f"(round((side - goal) / 2) for side, goal in zip(picture.size, ({width}, {height})))"
    return [*lines, f"left, top = {crop}", f"picture = picture.crop((left, top, left + {width}, top + {height}))"]


def _inputs(made: Export) -> str:
    spec = made.run.spec
    shape = f"reshape(1, {spec.size[0]}, {spec.size[1]}, {spec.channels})"
    if made.settings.preprocessing == INSIDE:
        return f"inputs = np.asarray(picture, np.uint8).{shape}"
    mean, std = (f"np.float32({list(values)})" for values in (spec.mean, spec.std))
    return f"inputs = ((np.asarray(picture, np.float32).{shape} / 255 - {mean}) / {std}).transpose(0, 3, 1, 2)"


def _shares(output: str) -> list[str]:
    if output == "logits":
        return ["shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()"]
    return ["shares = scores"]
