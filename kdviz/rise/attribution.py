"""RISE: Randomized Input Sampling for Explanation (Petsiuk, Das & Saenko, 2018, arXiv:1806.07421).

The model is a black box: a callable from a batch of images to scores. Masked images go through it, and
a pixel matters when keeping it goes together with a higher score. One pass serves every class, and
the same masks serve every model that is compared.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from captum.attr import PerturbationAttribution
from torch import Tensor
from tqdm import tqdm

from kdviz.core.errors import SettingError
from kdviz.rise.engine import Forward
from kdviz.rise.masks import masks_for
from kdviz.rise.settings import MINIMUM_MASKS, RISESettings
from kdviz.rise.states import Activation, ModelWithActivation, RISEState, softmax
from kdviz.rise.stopping import StoppingRule
from kdviz.rise.streaming import stream_scores
from kdviz.rise.targets import Target, select_scores
from kdviz.rise.validation import check_images, unwrap_tuple

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _with_settings(method: _Method) -> _Method:
    """Give a method that takes ``**settings`` the signature with each field of :class:`RISESettings`."""
    signature = inspect.signature(method)
    keyword = inspect.Parameter.KEYWORD_ONLY
    explicit = [
        parameter for parameter in signature.parameters.values() if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    declared = [
        inspect.Parameter(setting.name, keyword, default=setting.default, annotation=setting.type)
        for setting in fields(RISESettings)
    ]
    parameters = sorted([*explicit, *declared], key=lambda parameter: parameter.kind)  # keyword-only ones last
    method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return method


class RISE(PerturbationAttribution):
    """Saliency of a black-box model by random masks, as a Captum attribution method.

    Like every Captum method it explains what ``forward_func`` returns. For the published method, which
    explains probabilities, give ``activation="softmax"`` when the model returns logits.

    Args:
        forward_func: (N, C, H, W), and ``additional_forward_args``, to scores (N, ...) or (N,).
        activation: ``None``, ``"softmax"`` over dimension 1, ``"sigmoid"``, or a callable on the scores.
    """

    def __init__(self, forward_func: Forward, activation: str | Activation | None = None):
        super().__init__(forward_func)
        self._model = ModelWithActivation(forward_func, _activation(activation))

    @_with_settings
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor],
        baselines: float | Tensor | tuple[float | Tensor] | None = None,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        show_progress: bool = False,
        **settings: Any,
    ) -> Tensor | tuple[Tensor]:
        """Saliency maps of a batch of images, float32 (N, 1, H, W).

        Args:
            inputs: (N, C, H, W), as the model takes them. A tuple of one gives a tuple of one, for Captum's metrics.
            baselines: What a removed pixel becomes, in the units of the inputs: a number or a tensor that
                broadcasts to ``inputs``. Default 0, as everywhere in Captum.
            target: The class explained, as in Captum: an int or a tuple for all images, or one for each;
                None for a model with one output per image.
            additional_forward_args: Further arguments of the model; tensors of N rows go with their image.
            show_progress: Whether to draw a progress bar on stderr.
            settings: Keyword arguments of :class:`kdviz.rise.settings.RISESettings`, such as ``n_masks`` and ``seed``.

        Raises:
            TargetError: The target does not fit the model's output.
            SettingError: A setting is outside its range.
            ModelError: The model fails, or returns NaN, infinity or a wrong shape.
            TypeError: There is no such setting.
        """
        rise_settings = RISESettings(**settings)
        state = None
        with tqdm(total=rise_settings.n_masks, desc="RISE", disable=not show_progress) as bar:
            for state in self._states(inputs, baselines, target, additional_forward_args, rise_settings):
                bar.update(state.n_masks - bar.n)
        assert state is not None  # the stream yields at least once
        return (state.map,) if isinstance(inputs, tuple) else state.map

    @_with_settings
    def stream(
        self,
        inputs: Tensor | tuple[Tensor],
        baselines: float | Tensor | tuple[float | Tensor] | None = None,
        target: Target = None,
        additional_forward_args: Any = None,
        **settings: Any,
    ) -> Iterator[RISEState]:
        """Like :meth:`attribute`, as a stream: a :class:`RISEState` after each chunk of masks. It can be stopped early.

        Args:
            inputs: See :meth:`attribute`.
            baselines: See :meth:`attribute`.
            target: See :meth:`attribute`.
            additional_forward_args: See :meth:`attribute`.
            settings: See :meth:`attribute`.

        Raises:
            KdvizError: See :meth:`attribute`.
            TypeError: There is no such setting.
        """
        return self._states(inputs, baselines, target, additional_forward_args, RISESettings(**settings))

    def _states(
        self, inputs: Any, baselines: Any, target: Target, additional_forward_args: Any, settings: RISESettings
    ) -> Iterator[RISEState]:
        images, base = unwrap_tuple(inputs), unwrap_tuple(baselines)
        check_images(images)
        masks = masks_for((images.shape[-2], images.shape[-1]), settings)
        stop = StoppingRule(masks, settings.estimator, settings.reliability, settings.seconds)
        states = stream_scores(
            {"model": self._model},
            images,
            base,
            masks,
            settings.n_masks,
            settings.estimator,
            settings.precision,
            settings.chunk_size,
            _as_tuple(additional_forward_args),
            settings.devices,
        )
        for state in (by_name["model"] for by_name in states):
            if state.n_masks < MINIMUM_MASKS:
                continue
            scores = select_scores(state.scores, target)  # a wrong target fails on the first chunk
            reason = stop.reason(scores, state.n_masks)
            if reason:
                yield replace(state.first(reason[1]), target=target, stopped=reason[0])
                return
            yield replace(state, target=target)


def _as_tuple(arguments: Any) -> tuple[Any, ...]:
    if arguments is None:
        return ()
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _activation(name: str | Activation | None) -> Activation | None:
    if name is None or (callable(name) and not isinstance(name, str)):
        return name
    if name == "softmax":
        return softmax
    if name == "sigmoid":
        return torch.sigmoid
    raise SettingError("activation must be None, 'softmax', 'sigmoid' or a callable, got '{name}'.", name=name)
