"""The input of a model as its file records it: how a picture is resized, cropped and normalised.

The file is untrusted: values that are not as they should be count as not recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kdviz.models.checkpoints.metadata.recorded import mapping_of, scopes_of

_LARGEST = 8_192  # pixels of a side
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
_PILLOW_INTERPOLATIONS = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}  # Pillow's constants, which transformers writes
_BYTE = 255.0

_CONVNEXT = ("ConvNextImageProcessor", "ConvNextFeatureExtractor")
_LEVIT = ("LevitImageProcessor", "LevitFeatureExtractor")
_EFFICIENTNET = ("EfficientNetImageProcessor",)
_SQUARE_FROM = 384  # from this size on, ConvNeXt's pictures are not cropped
_LEVIT_RESIZE = 256 / 224


def recorded_input(recorded: Mapping[str, Any]) -> dict[str, Any] | None:
    """The input of a model as its file records it; None if it records nothing.

    Read from transformers' ``preprocessor_config.json``, timm's ``pretrained_cfg``, or the arguments of timm's and
    torchvision's training scripts.

    Returns:
        Some of ``size`` (H, W), ``resize`` (a number for the short side, (H, W), or None: the smallest that covers
        ``size``), ``interpolation`` (``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``), ``mean`` and ``std`` of
        values in [0, 1], and ``channels``.

    >>> recorded_input({"args": {"val_resize_size": 256, "val_crop_size": 224, "interpolation": "bilinear"}})
    {'size': (224, 224), 'resize': 256, 'interpolation': 'bilinear'}
    """
    config = mapping_of(recorded.get("config"))
    pretrained_cfg = mapping_of(config.get("pretrained_cfg")) or mapping_of(recorded.get("pretrained_cfg"))
    fields = _processor_fields(mapping_of(recorded.get("preprocessor_config"))) or _timm_fields(pretrained_cfg)
    for scope in scopes_of(recorded) if not fields else ():
        fields = fields or _argument_fields(scope)
    return fields or None


# transformers ---------------------------------------------------------------------------------------------------------


def _processor_fields(processor: Mapping[str, Any]) -> dict[str, Any]:
    if not processor:
        return {}
    processor_class = str(processor.get("image_processor_type") or processor.get("feature_extractor_type") or "")
    geometry = _geometry(processor, processor_class.removesuffix("Fast").removesuffix("Pil"))
    mean_and_std = _mean_and_std(
        processor, twice=processor_class.startswith(_EFFICIENTNET) and processor.get("include_top", True)
    )
    interpolation = next(
        (name for number, name in _PILLOW_INTERPOLATIONS.items() if processor.get("resample") == number), None
    )
    return {
        **geometry,
        **({"interpolation": interpolation} if interpolation else {}),
        **mean_and_std,
        **({"channels": len(mean_and_std["mean"])} if mean_and_std else {}),
    }


def _geometry(processor: Mapping[str, Any], processor_class: str) -> dict[str, Any]:
    """``size`` and ``resize``."""
    shape = _shape(processor.get("size"))
    short_side = _short_side(processor.get("size"), shape)
    crop = _shape(processor.get("crop_size")) if processor.get("do_center_crop") else None
    if processor.get("do_resize") is False:
        return {"size": crop} if crop else {}
    if processor_class in _CONVNEXT and short_side:
        return _convnext_resize(short_side, processor.get("crop_pct"))
    if processor_class in _LEVIT and short_side:
        short_side, shape = int(_LEVIT_RESIZE * short_side), None
    resize = short_side or shape
    size = crop or shape or (short_side and (short_side, short_side))
    return {"size": size, "resize": resize} if size and resize else {}


def _convnext_resize(short_side: int, share: Any) -> dict[str, Any]:
    """Divide the short side by the share that is cropped; from 384 pixels on, squash the whole picture instead."""
    size = (short_side, short_side)
    if short_side >= _SQUARE_FROM:
        return {"size": size, "resize": size}
    return {"size": size, "resize": int(short_side / (_fraction(share) or 224 / 256))}


def _mean_and_std(processor: Mapping[str, Any], *, twice: Any) -> dict[str, Any]:
    """Mean and standard deviation of values in [0, 1], including the factor by which bytes are multiplied.

    (255 f x - o - mean) / std = (x - (mean + o) / 255 f) / (std / 255 f); f is 1 / 255 by default, and o is 1 for
    pictures in [-1, 1]. EfficientNet's processor divides by the standard deviation once more (``twice``).
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
    """The short side from ``{"shortest_edge": 256}``, or from the 256 that older versions wrote."""
    side = mapping_of(value).get("shortest_edge")
    if side is None and not isinstance(value, Mapping):
        side = value
    return _integer(side, 1) if shape is None or not isinstance(value, Mapping) else None


def _shape(value: Any) -> tuple[int, int] | None:
    """(H, W) from ``{"height": 224, "width": 224}``, from two numbers, or from one for both."""
    if isinstance(value, Mapping):
        value = (value.get("height"), value.get("width"))
    sides = value if isinstance(value, (list, tuple)) else (value, value)
    height, width = (_integer(side, 1) for side in sides) if len(sides) == 2 else (None, None)
    return (height, width) if height and width else None


# timm and torchvision -------------------------------------------------------------------------------------------------


def _timm_fields(pretrained_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The input from ``pretrained_cfg``, as ``timm.data.create_transform`` uses it."""
    sides = pretrained_cfg.get("input_size")
    if not isinstance(sides, (list, tuple)) or len(sides) != 3:
        return {}
    size, channels = _shape(sides[1:]), _integer(sides[0], 1)
    if not size or channels not in (1, 3):
        return {}
    return {
        "size": size,
        **_timm_resize(size, pretrained_cfg.get("crop_pct"), pretrained_cfg.get("crop_mode")),
        **_normalisation_fields(pretrained_cfg),
        "channels": channels,
    }


def _timm_resize(size: tuple[int, int], share: Any, mode: Any) -> dict[str, Any]:
    """The resize for the share of the picture that is cropped: of the short side, or with ``squash`` of both sides."""
    fraction = _fraction(share)
    if not fraction or mode not in (None, "", "center", "squash"):
        return {}
    resized = (math.floor(size[0] / fraction), math.floor(size[1] / fraction))
    if mode == "squash":
        return {"resize": resized}
    if size[0] == size[1]:
        return {"resize": resized[0]}
    return {"resize": None} if fraction == 1 else {}


def _argument_fields(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The input from arguments of torchvision's script (``val_crop_size``) or timm's (``img_size``, ``crop_pct``)."""
    crop, short_side = _integer(scope.get("val_crop_size"), 1), _integer(scope.get("val_resize_size"), 1)
    if crop and short_side:
        return {"size": (crop, crop), "resize": short_side, **_normalisation_fields(scope)}
    if _timm_fields(scope):
        return _timm_fields(scope)
    size = _shape(next((scope[name] for name in ("img_size", "image_size", "input_size") if scope.get(name)), None))
    if not size:
        return {}
    channels = _integer(scope.get("in_chans"), 1)
    return {
        "size": size,
        **_timm_resize(size, scope.get("crop_pct"), scope.get("crop_mode")),
        **_normalisation_fields(scope),
        **({"channels": channels} if channels in (1, 3) else {}),
    }


def _normalisation_fields(scope: Mapping[str, Any]) -> dict[str, Any]:
    """``interpolation``, ``mean`` and ``std``, if they are given."""
    interpolation, mean, std = scope.get("interpolation"), _numbers(scope.get("mean")), _numbers(scope.get("std"))
    fields: dict[str, Any] = {"interpolation": interpolation} if interpolation in _INTERPOLATIONS else {}
    if mean and std and len(mean) == len(std) and min(std) > 0:
        fields |= {"mean": mean, "std": std}
    return fields


# numbers --------------------------------------------------------------------------------------------------------------


def _integer(value: Any, least: int) -> int | None:
    is_valid = isinstance(value, int) and not isinstance(value, bool) and least <= value <= _LARGEST
    return value if is_valid else None


def _number(value: Any) -> float | None:
    is_valid = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if is_valid else None


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
    return round(value, 9)  # (255 * x) / 255 is not always x
