"""CUDA graphs: all kernels of a small model, captured once for a shape of input and launched together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdviz.rise.engine.comparison import float_scores, same_scores

_log = logging.getLogger(__name__)
_GRAPHS = 3  # CUDA graphs kept for a model, one for each shape of input


class _Graph(NamedTuple):
    """A model's kernels for one shape of input, captured: filled in, launched together, read out."""

    launch: Callable[[], None]
    given: Tensor
    result: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        self.given.copy_(images)
        self.launch()
        return self.result.clone()


class GraphedModel:
    """A model whose kernels are captured for the shapes of input that come again, and then launched together.

    The first input of a shape goes through the model as it is: what comes once, as probes and the sizes on the way to
    the best batch do, is not worth a capture. The shape that was not used for longest makes room for a new one. A model
    that cannot be captured, or whose capture gives other scores, is never captured again.
    """

    def __init__(self, model: nn.Module):
        self._model = model
        self._seen: set[tuple[int, ...]] = set()
        self._graphs: dict[tuple[int, ...], _Graph] = {}  # the one used last is the last
        self._fits = True
        self._lock = threading.Lock()  # two threads must not fill in the same input

    def __call__(self, images: Tensor) -> Tensor:
        with self._lock:
            graph = self._graph_for(images)
            if graph is not None:
                return graph(images)
        return self._model(images)

    def _graph_for(self, images: Tensor) -> _Graph | None:
        shape = tuple(images.shape)
        if not self._fits or shape not in self._seen:
            self._seen.add(shape)
            return None
        graph = self._graphs.pop(shape, None) or self._captured(images)
        if graph is not None:
            self._graphs[shape] = graph
        for oldest in list(self._graphs)[:-_GRAPHS]:
            del self._graphs[oldest]
            self._seen.discard(oldest)
        return graph

    def _captured(self, images: Tensor) -> _Graph | None:
        try:
            with _capturing:
                graph = _capture(self._model, images)
            # The same kernels, but for what is rounded in another order.
            if same_scores(float_scores(self._model(images)), float_scores(graph(images)), "bfloat16"):
                return graph
            _log.warning("a CUDA graph of %s gives other scores; it is not used", type(self._model).__name__)
        except Exception as error:  # whatever a capture forbids, and memory: the model itself says what is wrong
            _log.info("no CUDA graph of %s: %s", type(self._model).__name__, error)
        self._fits = False
        return None


_capturing = threading.Lock()  # CUDA allows a process one capture at a time


def _capture(model: nn.Module, images: Tensor) -> _Graph:
    """The kernels that turn an input like ``images`` into the model's output."""
    device = images.device
    given = images.neg()  # other values than the first ones to come: what is not in the graph would show
    before, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    graph = torch.cuda.CUDAGraph()
    side.wait_stream(before)
    # All on the model's own device and a stream there: by default torch captures on the device that was current when it
    # first did, and the graph of a model on another one would be empty. The outer stream context also puts the stream
    # back when a capture fails, which torch.cuda.graph does not.
    with torch.cuda.device(device), torch.cuda.stream(side):
        for _ in range(3):  # a capture needs kernels that were chosen and memory that was taken before
            model(given)
        # By default what other threads do meanwhile, such as taking memory on another GPU, spoils a capture.
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            result = model(given)
    before.wait_stream(side)
    return _Graph(graph.replay, given, result)
