"""What a file says of the input that its model wants: how a picture is resized, cut and normalised.

Everything here comes from a file that nobody has checked: what is not as it should be counts as not recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kdviz.models.checkpoints.metadata.recorded import mapping_of, scopes_of

_LARGEST = 8_192  # pixels of a side
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
_OF_PILLOW = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # its numbers, which transformers writes
_BYTE = 255.0

_CONVNEXT = ("ConvNextImageProcessor", "ConvNextFeatureExtractor")
_LEVIT = ("LevitImageProcessor", "LevitFeatureExtractor")
_EFFICIENTNET = ("EfficientNetImageProcessor",)
_SQUARE_FROM = 384  # from this size on ConvNeXt's pictures are not cut
_LEVIT_RESIZE = 256 / 224


def recorded_input(recorded: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a file says of the input that its model wants; None where it says nothing.

    From transformers' ``preprocessor_config.json``, timm's ``pretrained_cfg``, or the arguments of timm's and
    torchvision's training scripts.

    Returns:
        Some of ``size`` (H, W), ``resize`` (a number for the short side, (H, W), or None: the smallest that covers
        ``size``), ``interpolation`` (``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``), ``mean`` and ``std`` of
        values in [0, 1], and ``channels``.

    >>> recorded_input({"args": {"val_resize_size": 256, "val_crop_size": 224, "interpolation": "bilinear"}})
    {'size': (224, 224), 'resize': 256, 'interpolation': 'bilinear'}
    """
    config = mapping_of(recorded.get("config"))
    described = mapping_of(config.get("pretrained_cfg")) or mapping_of(recorded.get("pretrained_cfg"))
    made = _of_processor(mapping_of(recorded.get("preprocessor_config"))) or _of_timm(described)
    for scope in scopes_of(recorded) if not made else ():
        made = made or _of_arguments(scope)
    return made or None


# transformers ---------------------------------------------------------------------------------------------------------


def _of_processor(processor: Mapping[str, Any]) -> dict[str, Any]:
    if not processor:
        return {}
    kind = str(processor.get("image_processor_type") or processor.get("feature_extractor_type") or "")
    geometry = _geometry(processor, kind.removesuffix("Fast").removesuffix("Pil"))
    mean_and_std = _scaled(processor, twice=kind.startswith(_EFFICIENTNET) and processor.get("include_top", True))
    interpolation = next((name for number, name in _OF_PILLOW.items() if processor.get("resample") == number), None)
    return {
        **geometry,
        **({"interpolation": interpolation} if interpolation else {}),
        **mean_and_std,
        **({"channels": len(mean_and_std["mean"])} if mean_and_std else {}),
    }


def _geometry(processor: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """``size`` and ``resize``."""
    shape = _shape(processor.get("size"))
    short = _short_side(processor.get("size"), shape)
    crop = _shape(processor.get("crop_size")) if processor.get("do_center_crop") else None
    if processor.get("do_resize") is False:
        return {"size": crop} if crop else {}
    if kind in _CONVNEXT and short:
        return _convnext(short, processor.get("crop_pct"))
    if kind in _LEVIT and short:
        short, shape = int(_LEVIT_RESIZE * short), None
    resize = short or shape
    size = crop or shape or (short and (short, short))
    return {"size": size, "resize": resize} if size and resize else {}


def _convnext(short: int, share: Any) -> dict[str, Any]:
    """The short side is made larger by the share that is cut out; from 384 pixels on the whole picture is squeezed."""
    size = (short, short)
    if short >= _SQUARE_FROM:
        return {"size": size, "resize": size}
    return {"size": size, "resize": int(short / (_fraction(share) or 224 / 256))}


def _scaled(processor: Mapping[str, Any], *, twice: Any) -> dict[str, Any]:
    """Mean and standard deviation of values in [0, 1], with the factor by which bytes are multiplied put into them.

    (255 f x - o - mean) / std = (x - (mean + o) / 255 f) / (std / 255 f); f is 1 / 255 where nothing else is said, and
    o is 1 for pictures in [-1, 1]. EfficientNet's divides by the standard deviation once more.
    """
    normalises = processor.get("do_normalize", True)
    mean, std = _numbers(processor.get("image_mean")), _numbers(processor.get("image_std"))
    if normalises and not (mean and std and len(mean) == len(std) and min(std) > 0):
        return {}
    if not normalises:
        mean, std = (0.0,) * 3, (1.0,) * 3
    factor = _number(processor.get("rescale_factor")) or 1 / _BYTE
    scale = _BYTE * factor if processor.get("do_rescale", True) else _BYTE
    offset = 1.0 if processor.get("do_rescale", True) and processor.get("rescale_offset") else 0.0
    assert mean
    assert std
    return {
        "mean": tuple(_rounded((value + offset) / scale) for value in mean),
        "std": tuple(_rounded(value * (value if twice else 1) / scale) for value in std),
    }


def _short_side(value: Any, shape: tuple[int, int] | None) -> int | None:
    """Of ``{"shortest_edge": 256}``, or of the 256 that older versions wrote."""
    given = mapping_of(value).get("shortest_edge")
    if given is None and not isinstance(value, Mapping):
        given = value
    return _whole(given, 1) if shape is None or not isinstance(value, Mapping) else None


def _shape(value: Any) -> tuple[int, int] | None:
    """(H, W) of ``{"height": 224, "width": 224}``, of two numbers, or of one for both."""
    if isinstance(value, Mapping):
        value = (value.get("height"), value.get("width"))
    sides = value if isinstance(value, (list, tuple)) else (value, value)
    height, width = (_whole(side, 1) for side in sides) if len(sides) == 2 else (None, None)
    return (height, width) if height and width else None


# timm and torchvision -------------------------------------------------------------------------------------------------


def _of_timm(described: Mapping[str, Any]) -> dict[str, Any]:
    """From ``pretrained_cfg``, as ``timm.data.create_transform`` uses it."""
    sides = described.get("input_size")
    if not isinstance(sides, (list, tuple)) or len(sides) != 3:
        return {}
    size, channels = _shape(sides[1:]), _whole(sides[0], 1)
    if not size or channels not in (1, 3):
        return {}
    return {
        "size": size,
        **_timm_resize(size, described.get("crop_pct"), described.get("crop_mode")),
        **_named(described),
        "channels": channels,
    }


def _timm_resize(size: tuple[int, int], share: Any, mode: Any) -> dict[str, Any]:
    """By the share of the picture that is cut out: the short side, or with ``squash`` both sides."""
    fraction = _fraction(share)
    if not fraction or mode not in (None, "", "center", "squash"):
        return {}
    larger = (math.floor(size[0] / fraction), math.floor(size[1] / fraction))
    if mode == "squash":
        return {"resize": larger}
    if size[0] == size[1]:
        return {"resize": larger[0]}
    return {"resize": None} if fraction == 1 else {}


def _of_arguments(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Of torchvision's reference script (``val_crop_size``), or of timm's (``img_size``, ``crop_pct``)."""
    crop, short = _whole(scope.get("val_crop_size"), 1), _whole(scope.get("val_resize_size"), 1)
    if crop and short:
        return {"size": (crop, crop), "resize": short, **_named(scope)}
    if _of_timm(scope):
        return _of_timm(scope)
    size = _shape(next((scope[name] for name in ("img_size", "image_size", "input_size") if scope.get(name)), None))
    if not size:
        return {}
    channels = _whole(scope.get("in_chans"), 1)
    return {
        "size": size,
        **_timm_resize(size, scope.get("crop_pct"), scope.get("crop_mode")),
        **_named(scope),
        **({"channels": channels} if channels in (1, 3) else {}),
    }


def _named(scope: Mapping[str, Any]) -> dict[str, Any]:
    """``interpolation``, ``mean`` and ``std``, where they are given."""
    interpolation, mean, std = scope.get("interpolation"), _numbers(scope.get("mean")), _numbers(scope.get("std"))
    named: dict[str, Any] = {"interpolation": interpolation} if interpolation in _INTERPOLATIONS else {}
    if mean and std and len(mean) == len(std) and min(std) > 0:
        named |= {"mean": mean, "std": std}
    return named


# numbers --------------------------------------------------------------------------------------------------------------


def _whole(value: Any, least: int) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= _LARGEST
    return value if fits else None


def _number(value: Any) -> float | None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if fits else None


def _fraction(value: Any) -> float | None:
    number = _number(value)
    return number if number and 0.05 <= number <= 1 else None


def _numbers(value: Any) -> tuple[float, ...] | None:
    """One or three finite numbers."""
    if not isinstance(value, (list, tuple)) or len(value) not in (1, 3):
        return None
    numbers = [item for item in value if isinstance(item, (int, float)) and math.isfinite(item)]
    return tuple(float(item) for item in numbers) if len(numbers) == len(value) else None


def _rounded(value: float) -> float:
    return round(value, 9)  # 255 / 255 and the like are not always one
