"""Outlines of networks: names and symbolic shapes, from classifiers built on the meta device with several settings."""

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
from kdviz.models.networks import DEPTHS, PaperCNN, PaperFC, import_timm, networks, resnet50v2_mxnet, tree_name

Shapes = dict[str, tuple[int, ...]]

_CLASSES, _CHANNELS = (7, 11), (3, 1)  # more classes make a side longer, fewer channels make it shorter
_AUXILIARY = ("googlenet", "inception_v3")  # torchvision's networks with auxiliary heads for training
_FACTORIES = ("empty", "zeros", "ones", "full", "rand", "randn")
_FILLS = ("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_",
          "xavier_uniform_", "constant_", "zeros_", "ones_", "zero_", "fill_", "erfinv_", "mul_", "add_", "div_",
          "sub_", "clamp_", "copy_", "__setitem__")  # fmt: skip


@dataclass(frozen=True)
class Outline:
    """Names and symbolic shapes of a network's tensors.

    Attributes:
        network: Name for :func:`kdviz.models.networks.build_network`.
        tensors: Name -> shape: see :mod:`kdviz.models.identify.symbols`.
        settings: Settings for its builder besides classes, channels and size.
        size: Default size of the input, if shapes depend on it.
        size_setting: Setting that changes the size; empty: ``size`` itself, or none.
        channels: Number of input channels, if the network is listed for one number of channels only.
        published: Whether its library has weights for it.
    """

    network: str
    tensors: Mapping[str, tuple[Side, ...]]
    settings: Mapping[str, Any]
    size: int | None
    size_setting: str
    channels: int | None
    published: bool


def all_outlines(names: Sequence[str] = ()) -> Iterator[Outline]:
    """Outlines of every classifier of torchvision and timm and of kdviz's own networks, or of those in ``names``.

    Raises:
        SettingError: timm is not installed.
        ValueError: A shape depends on classes, channels or size in a way that cannot be expressed.
    """
    from torchvision import models

    timm = import_timm("timm")
    listed = [f"torchvision/{name}" for name in models.list_models(module=models)]
    listed += [f"timm/{name}" for name in timm.list_models()]
    for network in (name for name in listed if not names or name in names):
        outlines = _torchvision_outlines(network) if network.startswith("torchvision/") else _timm_outlines(network)
        yield from (outline for outline in outlines if _has_head(outline))
    yield from (outline for outline in _kdviz_outlines() if not names or outline.network in names)


def _has_head(outline: Outline) -> bool:
    """Whether any shape depends on the number of classes; in encoders none does."""
    return any(isinstance(side, str) and side[0] == CLASSES for shape in outline.tensors.values() for side in shape)


def _torchvision_outlines(network: str) -> Iterator[Outline]:
    from torchvision import models

    name = network.partition("/")[2]
    fixed = {"aux_logits": False, "init_weights": False} if name in _AUXILIARY else {}
    depends_on_size = name.startswith("vit_")

    def create(classes: int, channels: int, size: int | None) -> nn.Module:
        size_arguments = {"image_size": size} if size else {}
        model = models.get_model(name, weights=None, num_classes=classes, **fixed, **size_arguments)
        if channels != _CHANNELS[0]:
            first_layer = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
            first_layer.weight = nn.Parameter(first_layer.weight[:, :channels])
        return model

    tensors = _symbolic(create, 224 if depends_on_size else None)
    # The library's weights of both need this, and nearly all fine-tuned ones start from them.
    settings = {**fixed, "transform_input": True} if fixed else {}
    yield Outline(
        network,
        tensors,
        settings,
        224 if depends_on_size else None,
        "image_size" if depends_on_size else "",
        None,
        True,
    )


def _timm_outlines(network: str) -> Iterator[Outline]:
    timm = import_timm(network)
    name = network.partition("/")[2]
    config = timm.get_pretrained_cfg(name)
    size = config.input_size[-1] if config else 224

    def create(classes: int, channels: int, size: int | None, **options: Any) -> nn.Module:
        size_arguments = {"img_size": size} if size else {}
        return timm.create_model(
            name, pretrained=False, num_classes=classes, in_chans=channels, **size_arguments, **options
        )

    published = bool(config and any(timm.get_pretrained_cfg(tag).has_weights for tag in _tags(timm, name)))
    tensors = _symbolic(create, size)
    depends_on_size = any(
        isinstance(side, str) and side.startswith("S") for shape in tensors.values() for side in shape
    )
    yield Outline(
        network, tensors, {}, size if depends_on_size else None, "img_size" if depends_on_size else "", None, published
    )


def _tags(timm: Any, name: str) -> list[str]:
    return timm.list_pretrained(name) or [name]


def _kdviz_outlines() -> Iterator[Outline]:
    def create_resnet(classes: int, channels: int, size: int | None) -> nn.Module:
        return resnet50v2_mxnet(classes, channels)

    yield Outline("resnet50v2_mxnet", _symbolic(create_resnet, None), {}, None, "", None, False)
    trees = [(name, networks[name]) for name in map(tree_name, DEPTHS)]
    for name, builder in (("paper_cnn", PaperCNN), ("paper_fc", PaperFC), *trees):
        for channels in (1, 3):

            def create(
                classes: int, _: int, size: int | None, builder: Any = builder, channels: int = channels
            ) -> nn.Module:
                return builder(classes, channels, (size or 28,) * 2)

            yield Outline(name, _symbolic(create, 28), {}, 28, "", channels, False)
    for name in ("airbench", "airbench_small", "airbench_small_tree", "mobilenet_v2_tree"):
        for channels in (1, 3):

            def create_airbench(
                classes: int, _: int, _size: int | None, builder: Any = networks[name], channels: int = channels
            ) -> nn.Module:
                return builder(classes, channels)

            yield Outline(name, _symbolic(create_airbench, None), {}, None, "", channels, False)


# symbolic shapes from several settings --------------------------------------------------------------------------------


def _symbolic(create: Callable[[int, int, int | None], nn.Module], size: int | None) -> dict[str, tuple[Side, ...]]:
    base = shapes_of(lambda: create(_CLASSES[0], _CHANNELS[0], None))
    try:
        other = shapes_of(lambda: create(_CLASSES[1], _CHANNELS[1], None))
    except Exception:  # some accept RGB only
        other = shapes_of(lambda: create(_CLASSES[1], _CHANNELS[0], None))
    if base.keys() != other.keys():
        raise ValueError(f"names follow the number of classes: {sorted(base.keys() ^ other.keys())[:4]}")
    shapes_by_size = _shapes_by_size(create, base, size) if size else {}
    return {
        name: _symbolic_shape(shape, other[name], {key: shapes[name] for key, shapes in shapes_by_size.items()})
        for name, shape in base.items()
    }


def _shapes_by_size(create: Callable[[int, int, int | None], nn.Module], base: Shapes, size: int) -> dict[int, Shapes]:
    """Size -> shapes, for three sizes; empty if shapes or the builder do not depend on the size."""
    try:
        double = shapes_of(lambda: create(_CLASSES[0], _CHANNELS[0], 2 * size))
        if double == base or double.keys() != base.keys():
            return {}
        triple = shapes_of(lambda: create(_CLASSES[0], _CHANNELS[0], 3 * size))
    except Exception:  # an unknown argument, or a size that it cannot take
        return {}
    return {size: base, 2 * size: double, 3 * size: triple}


def _symbolic_shape(
    base: tuple[int, ...], other: tuple[int, ...], shapes_by_size: Mapping[int, tuple[int, ...]]
) -> tuple[Side, ...]:
    return tuple(
        _symbolic_side(side, other[axis], {size: shape[axis] for size, shape in shapes_by_size.items()})
        for axis, side in enumerate(base)
    )


def _symbolic_side(base: int, other: int, side_by_size: Mapping[int, int]) -> Side:
    if any(side != base for side in side_by_size.values()):
        return quadratic(list(side_by_size), list(side_by_size.values()))
    if other == base:
        return base
    symbol, values = (CLASSES, _CLASSES) if other > base else (CHANNELS, _CHANNELS)
    return linear(symbol, values, (base, other))


# building without values ----------------------------------------------------------------------------------------------


def shapes_of(create: Callable[[], nn.Module]) -> Shapes:
    """Name -> shape of every tensor in a network's state dict; takes hardly any memory."""
    with _quiet():
        try:
            with torch.device("meta"), _Unfilled(factories=False):
                network = create()
        except (NotImplementedError, RuntimeError):  # torchvision's RegNets compute their widths with tensors
            with _Unfilled(factories=True):
                network = create()
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


class _Unfilled(TorchFunctionMode):
    """Skips the initialisation of tensors on the meta device, which takes nearly all the time of building.

    Args:
        factories: Whether factory functions create tensors on the meta device while other tensors keep their values.
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
def _quiet() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    gc.disable()  # modules are many small objects, and collecting garbage takes half of the time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        gc.enable()
        logging.disable(level)
