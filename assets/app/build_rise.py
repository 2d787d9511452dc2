"""Make rise.json, the picture of the page Methods and limits: ``python assets/app/build_rise.py`` from the repository.

A bundled digit, four of RISE's masks over it with what the bundled teacher then says, and the map of 4,000 masks.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import to_rgb
from PIL import Image

import kdviz
from kdviz.data import bundled_digits
from kdviz.figures import NEGATIVE, POSITIVE
from kdviz.rise.masks import RandomMasks

SAMPLE, SIDE = 24, 112  # a nine


def main() -> None:
    experiment, digits = kdviz.load_experiment("mnist"), bundled_digits()["bundled"]
    picture, label = digits.picture(SAMPLE), int(digits.labels[SAMPLE])
    masks = RandomMasks((28, 28), seed=1).render(0, 400)
    inputs = experiment.preprocess(picture) * masks  # black is zero here
    with torch.inference_mode():
        said = experiment.runs["teacher"].model(inputs).softmax(1)[:, label].numpy()
    order = np.argsort(-said)
    chosen = [int(order[place]) for place in (8, 150, 290, 385)]
    found = kdviz.explain(experiment, picture, target=label, n_masks=4000)["teacher"].values
    limit = float(np.abs(found).max())
    colours = _coloured(found / limit, np.asarray(picture, np.float64) / 255)
    document = {
        "digit": digits.classes[label],
        "picture": _png(picture),
        "masked": [{"image": _png(_grey(inputs[one, 0])), "probability": round(float(said[one]), 3)} for one in chosen],
        "map": _png(Image.fromarray((colours * 255).astype(np.uint8))),
    }
    Path(__file__).with_name("rise.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(label, [one["probability"] for one in document["masked"]])


def _coloured(strength: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """The colour of the page over the picture, the more the stronger: (H, W, 3)."""
    colour = np.where(strength[..., None] < 0, to_rgb(NEGATIVE), to_rgb(POSITIVE))
    cover = np.abs(strength)[..., None] ** 0.7
    return grey[..., None] * (1 - cover) * 0.6 + colour * cover


def _grey(values: torch.Tensor) -> Image.Image:
    return Image.fromarray((values.clamp(0, 1).numpy() * 255).astype(np.uint8))


def _png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    main()
