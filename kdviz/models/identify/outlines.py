"""Networks as names and shapes of tensors: each classifier built without numbers, a few times with other settings."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from kdviz.models.identify.symbols import CHANNELS, CLASSES, Side, linear, quadratic
from kdviz.models.networks import PaperCNN, PaperFC, import_timm, resnet50v2_mxnet

Shapes = dict[str, tuple[int, ...]]

_CLASSES, _CHANNELS = (7, 11), (3, 1)  # more classes make a side longer, fewer channels make it shorter
_AUXILIARY = ("googlenet", "inception_v3")  # of torchvision: heads that only training needs
_FACTORIES = ("empty", "zeros", "ones", "full", "rand", "randn")
_FILLS = ("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_",
          "xavier_uniform_", "constant_", "zeros_", "ones_", "zero_", "fill_", "erfinv_", "mul_", "add_", "div_",
          "sub_", "clamp_", "copy_", "__setitem__")  # fmt: skip


@dataclass(frozen=True)
class Outline:
    """A network's tensors by name and symbolic shape.

    Attributes:
        network: Its name, as :func:`kdviz.models.networks.build_network` takes it.
        tensors: Name -> shape: see :mod:`kdviz.models.identify.symbols`.
        settings: What its builder must be told beside classes, channels and size.
        size: For which it is built unless told otherwise, where shapes follow the size.
        size_setting: By which its builder is told another size; empty where it is ``size`` itself, or none.
        channels: Of the input, where the network is listed for one number of channels only.
        published: Whether its library has weights of it.
    """

    network: str
    tensors: Mapping[str, tuple[Side, ...]]
    settings: Mapping[str, Any]
    size: int | None
    size_setting: str
    channels: int | None
    published: bool


def all_outlines(names: Sequence[str] = ()) -> Iterator[Outline]:
    """Every classifier of torchvision and timm, and kdviz's own networks; or those of ``names``.

    Raises:
        SettingError: timm is not installed.
        ValueError: A shape follows classes, channels or size in a way that cannot be said.
    """
    from torchvision import models

    timm = import_timm("timm")
    listed = [f"torchvision/{name}" for name in models.list_models(module=models)]
    listed += [f"timm/{name}" for name in timm.list_models()]
    for network in (name for name in listed if not names or name in names):
        outlines = _of_torchvision(network) if network.startswith("torchvision/") else _of_timm(network)
        yield from (outline for outline in outlines if _has_head(outline))
    yield from (outline for outline in _of_kdviz() if not names or outline.network in names)


def _has_head(outline: Outline) -> bool:
    """Whether anything follows the number of classes, which nothing does in encoders."""
    return any(isinstance(side, str) and side[0] == CLASSES for shape in outline.tensors.values() for side in shape)


def _of_torchvision(network: str) -> Iterator[Outline]:
    from torchvision import models

    name = network.partition("/")[2]
    fixed = {"aux_logits": False, "init_weights": False} if name in _AUXILIARY else {}
    sized = name.startswith("vit_")

    def create(classes: int, channels: int, size: int | None) -> nn.Module:
        given = {"image_size": size} if size else {}
        built = models.get_model(name, weights=None, num_classes=classes, **fixed, **given)
        if channels != _CHANNELS[0]:
            first = next(layer for layer in built.modules() if isinstance(layer, nn.Conv2d))
            first.weight = nn.Parameter(first.weight[:, :channels])
        return built

    tensors = _symbolic(create, 224 if sized else None)
    # The library's own weights of both want this, and nearly all that are fine-tuned come from them.
    settings = {**fixed, "transform_input": True} if fixed else {}
    yield Outline(network, tensors, settings, 224 if sized else None, "image_size" if sized else "", None, True)


def _of_timm(network: str) -> Iterator[Outline]:
    timm = import_timm(network)
    name = network.partition("/")[2]
    described = timm.get_pretrained_cfg(name)
    size = described.input_size[-1] if described else 224

    def create(classes: int, channels: int, size: int | None, **further: Any) -> nn.Module:
        given = {"img_size": size} if size else {}
        return timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels, **given, **further)

    published = bool(described and any(timm.get_pretrained_cfg(tag).has_weights for tag in _tags(timm, name)))
    tensors = _symbolic(create, size)
    depends = any(isinstance(side, str) and side.startswith("S") for shape in tensors.values() for side in shape)
    yield Outline(network, tensors, {}, size if depends else None, "img_size" if depends else "", None, published)


def _tags(timm: Any, name: str) -> list[str]:
    return timm.list_pretrained(name) or [name]


def _of_kdviz() -> Iterator[Outline]:
    def normed(classes: int, channels: int, size: int | None) -> nn.Module:
        return resnet50v2_mxnet(classes, channels)

    yield Outline("resnet50v2_mxnet", _symbolic(normed, None), {}, None, "", None, False)
    for name, builder in (("paper_cnn", PaperCNN), ("paper_fc", PaperFC)):
        for channels in (1, 3):

            def create(
                classes: int, _: int, size: int | None, builder: Any = builder, channels: int = channels
            ) -> nn.Module:
                return builder(classes, channels, (size or 28,) * 2)

            yield Outline(name, _symbolic(create, 28), {}, 28, "", channels, False)


# shapes with other settings -------------------------------------------------------------------------------------------


def _symbolic(create: Callable[[int, int, int | None], nn.Module], size: int | None) -> dict[str, tuple[Side, ...]]:
    base = shapes_of(lambda: create(_CLASSES[0], _CHANNELS[0], None))
    try:
        other = shapes_of(lambda: create(_CLASSES[1], _CHANNELS[1], None))
    except Exception:  # some take colour only
        other = shapes_of(lambda: create(_CLASSES[1], _CHANNELS[0], None))
    if base.keys() != other.keys():
        raise ValueError(f"names follow the number of classes: {sorted(base.keys() ^ other.keys())[:4]}")
    sized = _sized(create, base, size) if size else {}
    return {
        name: _sides(shape, other[name], {key: of[name] for key, of in sized.items()}) for name, shape in base.items()
    }


def _sized(create: Callable[[int, int, int | None], nn.Module], base: Shapes, size: int) -> dict[int, Shapes]:
    """Size -> shapes, for three sizes; nothing where shapes or the builder do not follow the size."""
    try:
        double = shapes_of(lambda: create(_CLASSES[0], _CHANNELS[0], 2 * size))
        if double == base or double.keys() != base.keys():
            return {}
        triple = shapes_of(lambda: create(_CLASSES[0], _CHANNELS[0], 3 * size))
    except Exception:  # an unknown argument, or a size that it cannot take
        return {}
    return {size: base, 2 * size: double, 3 * size: triple}


def _sides(base: tuple[int, ...], other: tuple[int, ...], sized: Mapping[int, tuple[int, ...]]) -> tuple[Side, ...]:
    return tuple(
        _side(side, other[axis], {size: shape[axis] for size, shape in sized.items()}) for axis, side in enumerate(base)
    )


def _side(base: int, other: int, sized: Mapping[int, int]) -> Side:
    if any(side != base for side in sized.values()):
        return quadratic(list(sized), list(sized.values()))
    if other == base:
        return base
    symbol, values = (CLASSES, _CLASSES) if other > base else (CHANNELS, _CHANNELS)
    return linear(symbol, values, (base, other))


# without numbers ------------------------------------------------------------------------------------------------------


def shapes_of(create: Callable[[], nn.Module]) -> Shapes:
    """Name -> shape of every tensor in a network's state dict. Hardly any memory is taken."""
    with _silence():
        try:
            with torch.device("meta"), _Unfilled(factories=False):
                network = create()
        except (NotImplementedError, RuntimeError):  # torchvision's RegNets compute their widths with tensors
            with _Unfilled(factories=True):
                network = create()
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


class _Unfilled(TorchFunctionMode):
    """Leaves out all filling of tensors that have no numbers, which is nearly all the time that building takes.

    Args:
        factories: Make what layers ask for without numbers, while what is computed with keeps them.
    """

    def __init__(self, *, factories: bool):
        super().__init__()
        self._factories = factories

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _FILLS and args and isinstance(args[0], torch.Tensor) and args[0].is_meta:
            return args[0]
        if self._factories and name in _FACTORIES:
            kwargs = {**(kwargs or {}), "device": "meta"}
        return func(*args, **(kwargs or {}))


@contextmanager
def _silence() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    gc.disable()  # modules are many small objects; going through them again and again costs half of the time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        gc.enable()
        logging.disable(level)
