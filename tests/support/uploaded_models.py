"""Files of models and pictures as people upload them, as bytes."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from kdviz.models.networks import build_network

CLASSES = 3


def state_of(network: str) -> dict[str, torch.Tensor]:
    return dict(build_network(network, classes=CLASSES, channels=3, size=(64, 64)).state_dict())


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def timm_file() -> bytes:
    return save({name: tensor.contiguous() for name, tensor in state_of("timm/mobilenetv3_small_050").items()})


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pictures() -> bytes:
    names = [f"data/{name}/{number}.png" for name in ("a", "b", "c") for number in range(4)]
    return zip_of({name: picture(seed) for seed, name in enumerate(names)} | {"__MACOSX/._data": b"x"})
