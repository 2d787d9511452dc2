"""The input of a network: as the user gives it, as its file records it, or as its library's transforms make it.

Every field is taken from the first of these that has it:

1. what the user gives;
2. for the size: what the shapes of the weights require, such as a ViT's position embedding;
3. what is recorded beside the weights: ``preprocessor_config.json``, ``pretrained_cfg``, a script's arguments;
4. the library's own transforms: timm's ``pretrained_cfg``, torchvision's ``Weights.DEFAULT.transforms()``, the defaults
   of transformers' image processor. If torchvision has several weights of a network, it cannot be known which of them a
   file holds: the default ones are used, which its documentation recommends; their transforms resize to 232 where older
   ones resize to 256, which changes accuracy by tenths of a point;
5. a guess: 224 pixels cropped from 256, bilinear, ImageNet's mean and std, but small pictures that are all of one size
   as they are; 28 x 28 grey pixels in [0, 1] for the two networks of the paper, 32 x 32 for those of small photographs.

If the size that applies is not the one that a resize belongs to, the resize is scaled in proportion, so that the same
share of the picture is cropped. A size that is given and that small pictures have crops nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdviz.core.errors import SettingError
from kdviz.models.inputs import INTERPOLATIONS, InputSpec
from kdviz.models.networks import RENORMALISED, import_timm

SOURCES = ("given", "file", "config", "library", "guessed")
"""Sources of an input, the most certain first."""

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_GUESS = {"size": (224, 224), "resize": 256, "interpolation": "bilinear", "channels": 3, **_IMAGENET}
_DIGITS = {"size": (28, 28), "resize": None, "channels": 1, "mean": (0.0,), "std": (1.0,)}
_SMALL_PHOTOGRAPHS = {**_GUESS, "size": (32, 32), "resize": None}
_OWN_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "paper_cnn": _DIGITS,
    "paper_fc": _DIGITS,
    "airbench": _SMALL_PHOTOGRAPHS,
    "airbench_small": _SMALL_PHOTOGRAPHS,
}

_Fields = Mapping[str, Any]
"""Some of ``size``, ``resize``, ``crop`` (the share of the short side that is cropped), ``squash`` (whether both sides
are resized), ``interpolation``, ``mean``, ``std`` and ``channels``."""

_Layer = tuple[str, _Fields]
"""Source of some fields, and the fields."""


def input_of(
    network: str,
    *,
    recorded_input: _Fields | None = None,
    given: _Fields | None = None,
    settings: Mapping[str, Any] | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    pictures: tuple[int, int] | None = None,
) -> tuple[InputSpec, str]:
    """The input of a network, and its source.

    Args:
        network: Name, as in :func:`kdviz.models.networks.build_network`; ``transformers/MODEL_TYPE``, ``onnx`` or an
            unknown name as well.
        recorded_input: What is recorded beside the weights: some of an :class:`InputSpec`'s fields, and ``crop`` or
            ``crop_pct``; ``source`` is ``config`` or, by default, ``file``.
        given: What the user gives: ``size`` (H, W), ``resize`` (a number for the short side, (H, W), ``squash``, or
            ``none``: the smallest that covers the size), ``crop`` (the share of the short side that is cropped, timm's
            ``crop_pct``), ``interpolation``, ``mean``, ``std`` and ``channels``.
        settings: Settings that the network is built with.
        size: Height and width that the weights require.
        channels: 1 or 3, as the weights require.
        pictures: Height and width of the pictures, where all are small and of one size.

    Returns:
        The input; and the least certain of the :data:`SOURCES` of its size, mean and std: ``given`` only if all three
        are given. A size that the weights require counts as recorded in the file.

    Raises:
        SettingError: What the user gives is contradictory or out of range.
    """
    given_fields = _check_given(given or {})
    recorded = dict(recorded_input or {})
    says_crop = {"resize", "crop"} & (given_fields.keys() | _canonical(recorded).keys())
    if pictures is not None and given_fields.get("size") == pictures and not says_crop:
        given_fields = {**given_fields, "resize": None}
    guess = _OWN_NETWORKS.get(network, _GUESS)
    if pictures is not None:
        guess = {**guess, "size": pictures, "resize": None}
    layers: list[_Layer] = [
        ("given", given_fields),
        ("file", {"size": size, "channels": channels}),
        (str(recorded.pop("source", "file")), _canonical(recorded)),
        ("library", _library_fields(network.removesuffix(RENORMALISED), settings or {})),
        ("guessed", guess),
    ]
    layers = [
        (source, {key: value for key, value in fields.items() if _is_set(key, value)}) for source, fields in layers
    ]
    values = {key: next(_values_of(layers, key)) for key in ("size", "channels", "mean", "std")}
    resolved_size, resolved_channels = values["size"][1], values["channels"][1]
    interpolation = next(_values_of(layers, "interpolation"), ("", "bicubic"))[1]
    mean, std = (_per_channel(key, *values[key], resolved_channels) for key in ("mean", "std"))
    source = max((values[key][0] for key in ("size", "mean", "std")), key=SOURCES.index)
    resize = _resize(layers, resolved_size)
    return InputSpec(resolved_size, resolved_channels, mean, std, resize=resize, interpolation=interpolation), source


def _values_of(layers: Sequence[_Layer], key: str) -> Iterator[tuple[str, Any]]:
    return ((source, fields[key]) for source, fields in layers if key in fields)


def _is_set(key: str, value: Any) -> bool:
    return value is not None or key == "resize"


# what the user gives --------------------------------------------------------------------------------------------------


def _check_given(given: _Fields) -> _Fields:
    """Check the given fields and return them in the common form."""
    fields = _canonical(given)
    resize = fields.get("resize")
    if resize in ("squash", "none"):
        fields.pop("resize")
        fields |= {"squash": True, "crop": fields.get("crop", 1.0)} if resize == "squash" else {"resize": None}
    if "resize" in fields and "crop" in fields:
        raise SettingError("resize and crop both say how much of the picture is cut out; give one of them.")
    if not 0 < fields.get("crop", 1.0) <= 1:
        raise SettingError(
            "crop is the share of the short side, above 0 and at most 1, got {crop}.", crop=fields["crop"]
        )
    if fields.get("interpolation", "bicubic") not in INTERPOLATIONS:
        raise SettingError(
            "interpolation is one of {interpolations}, not '{interpolation}'.",
            interpolations=", ".join(INTERPOLATIONS),
            interpolation=fields["interpolation"],
        )
    return fields


def _canonical(fields: _Fields) -> dict[str, Any]:
    """The fields with sizes as (H, W), means as tuples, and ``crop`` for timm's ``crop_pct``."""
    canonical = dict(fields)
    if "crop_pct" in canonical:
        canonical.setdefault("crop", canonical.pop("crop_pct"))
    if isinstance(canonical.get("size"), int):
        canonical["size"] = (canonical["size"], canonical["size"])
    for key in ("size", "mean", "std"):
        if canonical.get(key) is not None:
            canonical[key] = tuple(canonical[key]) if isinstance(canonical[key], Sequence) else (canonical[key],)
    if isinstance(canonical.get("resize"), list):
        canonical["resize"] = tuple(canonical["resize"])
    return canonical


def _per_channel(key: str, source: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One number a channel; for grey pictures, the mean of the colours' numbers."""
    if len(values) == channels:
        return tuple(float(value) for value in values)
    if len(values) == 1:
        return (float(values[0]),) * channels
    if source == "given":
        raise SettingError(
            "{key} has {count} numbers, and the pictures {channels} channel; give one number.",
            key=key,
            count=len(values),
            channels=channels,
        )
    return (round(sum(values) / len(values), 9),) * channels


# resize ---------------------------------------------------------------------------------------------------------------


def _resize(layers: Sequence[_Layer], size: tuple[int, int]) -> int | tuple[int, int] | None:
    """The resize of the first layer that says how much of a picture is cropped."""
    for number, (_, fields) in enumerate(layers):
        if "crop" in fields:
            return _resize_for_crop(size, fields["crop"], squash=bool(fields.get("squash")))
        if "resize" in fields:
            # A given resize is used as it is; any other belongs to the size in the same layer, or in one below.
            original_size = size if number == 0 else next(_values_of(layers[number:], "size"))[1]
            return _scale_resize(fields["resize"], original_size, size)
    return None


def _resize_for_crop(size: tuple[int, int], share: float, *, squash: bool) -> int | tuple[int, int] | None:
    """The resize of timm: both sides, or the short one, divided by the share that is cropped."""
    height, width = (math.floor(side / share) for side in size)
    if squash:
        return height, width
    if height != width and share == 1:
        return None
    return max(height, width)


def _scale_resize(
    resize: int | tuple[int, int] | None, original_size: tuple[int, int], size: tuple[int, int]
) -> int | tuple[int, int] | None:
    """Scale a resize that belongs to ``original_size`` for another size."""
    if resize is None or original_size == size:
        return resize
    if isinstance(resize, tuple):
        height, width = (round(side * new / old) for side, new, old in zip(resize, size, original_size, strict=True))
        return height, width
    return round(resize * max(size) / max(original_size))


# libraries ------------------------------------------------------------------------------------------------------------


def _library_fields(network: str, settings: Mapping[str, Any]) -> _Fields:
    """The input according to the network's library; empty if it has no such network, or no such information."""
    library, _, name = network.partition("/")
    if name and library == "timm":
        return _timm_fields(name)
    if name and library == "torchvision":
        return _torchvision_fields(name)
    if name and library == "transformers":
        return _transformers_fields(name, settings.get("config") or {})
    return {}


def _timm_fields(name: str) -> _Fields:
    """The input of ``timm.data.create_transform(**resolve_data_config(...))``."""
    import_timm(f"timm/{name}")
    from timm.data.config import resolve_data_config  # pyright: ignore[reportMissingImports]
    from timm.models import get_pretrained_cfg  # pyright: ignore[reportMissingImports]

    try:
        pretrained_cfg = get_pretrained_cfg(name)
    except RuntimeError:  # a tag that this version does not know
        pretrained_cfg = get_pretrained_cfg(name.partition(".")[0])
    if pretrained_cfg is None:
        return {}
    config = resolve_data_config(pretrained_cfg=pretrained_cfg.to_dict())
    channels, height, width = config["input_size"]
    return {
        "size": (height, width),
        "channels": channels if channels in (1, 3) else None,
        "crop": config["crop_pct"],
        "squash": config["crop_mode"] != "center",  # the mode border pads; squashing shows the whole picture as well
        "interpolation": config["interpolation"] if config["interpolation"] in INTERPOLATIONS else "bicubic",
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
    }


def _torchvision_fields(name: str) -> _Fields:
    from torchvision import models

    try:
        weights: Any = models.get_model_weights(name)
        transforms = weights.DEFAULT.transforms()
        short, crop = transforms.resize_size[0], transforms.crop_size[0]
    except (ValueError, AttributeError):  # no such network, or no classifier
        return {}
    return {
        "size": (crop, crop),
        "channels": 3,
        "resize": short,
        "interpolation": transforms.interpolation.value,
        "mean": tuple(transforms.mean),
        "std": tuple(transforms.std),
    }


def _transformers_fields(name: str, config: Mapping[str, Any]) -> _Fields:
    """The defaults of the image processor of this type of model, at the size of the model's configuration."""
    from kdviz.models.checkpoints import recorded_input  # pyright: ignore[reportAttributeAccessIssue]

    try:
        import transformers  # pyright: ignore[reportMissingImports]
        from transformers.models.auto import image_processing_auto as auto  # pyright: ignore[reportMissingImports]

        settings = _processor_settings(transformers, vars(auto)["IMAGE_PROCESSOR_MAPPING_NAMES"][name])
    except (ImportError, KeyError, AttributeError, TypeError):
        return {}
    fields = dict(recorded_input({"preprocessor_config": settings}) or {})
    side = config.get("image_size")
    size = (side, side) if isinstance(side, int) else tuple(side) if isinstance(side, (list, tuple)) else None
    if size and "size" in fields and "resize" in fields:
        fields["resize"] = _scale_resize(fields["resize"], fields["size"], size)
    return fields | ({"size": size} if size else {})


def _processor_settings(transformers: Any, classes: Any) -> Mapping[str, Any]:
    """The settings of an image processor made without arguments; older versions list its classes."""
    names = classes.values() if isinstance(classes, Mapping) else classes
    processor_class = next(getattr(transformers, name) for name in names if name and hasattr(transformers, name))
    return processor_class().to_dict()
