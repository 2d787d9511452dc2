"""CUDA graphs: all kernels of a small model, captured once per input shape and launched together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdviz.rise.engine.comparison import float_scores, same_scores

_log = logging.getLogger(__name__)
_GRAPHS = 3  # CUDA graphs kept for a model, one per input shape


class _Graph(NamedTuple):
    """The captured kernels of a model for one input shape, with their static input and output."""

    launch: Callable[[], None]
    static_input: Tensor
    static_output: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        self.static_input.copy_(images)
        self.launch()
        return self.static_output.clone()


class GraphedModel:
    """A model whose kernels are captured for repeated input shapes, and then launched together.

    The first input of a shape goes through the model itself: shapes that occur once, such as probes and the sizes tried
    on the way to the best batch, are not worth a capture. The least recently used shape makes room for a new one. A
    model that cannot be captured, or whose capture gives other scores, is never captured again.
    """

    def __init__(self, model: nn.Module):
        self._model = model
        self._seen: set[tuple[int, ...]] = set()
        self._graphs: dict[tuple[int, ...], _Graph] = {}  # in the order of their last use
        self._capturable = True
        self._lock = threading.Lock()  # two threads must not fill the same static input

    def __call__(self, images: Tensor) -> Tensor:
        with self._lock:
            graph = self._graph_for(images)
            if graph is not None:
                return graph(images)
        return self._model(images)

    def _graph_for(self, images: Tensor) -> _Graph | None:
        shape = tuple(images.shape)
        if not self._capturable or shape not in self._seen:
            self._seen.add(shape)
            return None
        graph = self._graphs.pop(shape, None) or self._try_capture(images)
        if graph is not None:
            self._graphs[shape] = graph
        for oldest in list(self._graphs)[:-_GRAPHS]:
            del self._graphs[oldest]
            self._seen.discard(oldest)
        return graph

    def _try_capture(self, images: Tensor) -> _Graph | None:
        try:
            with _capture_lock:
                graph = _capture(self._model, images)
            # The same kernels; only the order of rounding may differ.
            if same_scores(float_scores(self._model(images)), float_scores(graph(images)), "bfloat16"):
                return graph
            _log.warning("a CUDA graph of %s gives other scores; it is not used", type(self._model).__name__)
        except Exception as error:  # forbidden in a capture, or out of memory: the model itself will raise it
            _log.info("no CUDA graph of %s: %s", type(self._model).__name__, error)
        self._capturable = False
        return None


_capture_lock = threading.Lock()  # CUDA allows one capture at a time in a process


def _capture(model: nn.Module, images: Tensor) -> _Graph:
    """The kernels that turn an input like ``images`` into the model's output."""
    device = images.device
    static_input = images.neg()  # unlike the first inputs: anything missing from the graph would show
    current, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    graph = torch.cuda.CUDAGraph()
    side.wait_stream(current)
    # All on the model's device and a stream there: by default torch captures on the device that was current when it
    # first did, and the graph of a model on another one would be empty. The outer stream context also puts the stream
    # back when a capture fails, which torch.cuda.graph does not.
    with torch.cuda.device(device), torch.cuda.stream(side):
        for _ in range(3):  # a capture needs kernels and memory that were chosen before
            model(static_input)
        # By default the actions of other threads, such as allocating memory on another GPU, invalidate a capture.
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            result = model(static_input)
    current.wait_stream(side)
    return _Graph(graph.replay, static_input, result)
