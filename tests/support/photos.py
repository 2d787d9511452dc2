"""Real digits rendered as somebody's photos of them: what ``mnist_digit`` has to undo."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

# Paper and ink, RGB: dark on light, light on dark, coloured.
COLOURS = {
    "pen": ((235, 232, 225), (25, 25, 40)),
    "pencil": ((225, 225, 225), (110, 110, 115)),
    "chalk": ((30, 50, 40), (230, 235, 230)),
    "screen": ((0, 0, 0), (255, 255, 255)),
    "red": ((240, 238, 230), (190, 30, 40)),
    "blue": ((245, 245, 245), (30, 60, 180)),
    "green on pink": ((250, 210, 215), (20, 110, 50)),
    "yellow on blue": ((20, 30, 110), (240, 220, 60)),
}


def photo(digit: np.ndarray, seed: int) -> bytes:
    """A JPEG of ``digit``, uint8 (28, 28), off-centre on uneven paper; everything else depends on ``seed``."""
    random = np.random.default_rng(seed)
    width, height = random.integers(200, 600, 2)
    side = int(min(width, height) * random.uniform(0.45, 0.9))
    stroke = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    stroke = stroke.filter(ImageFilter.GaussianBlur(side / 80))
    layer = Image.new("L", (int(width), int(height)))
    layer.paste(stroke, (int(random.integers(0, width - side + 1)), int(random.integers(0, height - side + 1))))
    amount = np.asarray(layer, dtype=np.float64)[..., None] / 255
    paper, ink = (np.array(colour, dtype=np.float64) for colour in list(COLOURS.values())[seed % len(COLOURS)])
    picture = paper + amount * (ink - paper)
    picture *= _light(random, int(height), int(width))[..., None]
    picture += random.normal(0, random.uniform(1, 8), picture.shape)
    buffer = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=int(random.integers(60, 95)))
    return buffer.getvalue()


def _light(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A lamp on one side: brightness falls by up to 40 % across the picture, not quite linearly."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    angle, fall = random.uniform(0, 2 * np.pi), random.uniform(0.1, 0.4)
    along = np.cos(angle) * x + np.sin(angle) * y
    along = (along - along.min()) / np.ptp(along)
    return 1 - fall * along ** random.uniform(0.7, 1.5)
