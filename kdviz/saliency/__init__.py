"""Saliency: masks, RISE, and every method behind one call."""

from kdviz.saliency.estimators import Estimate, estimate, estimators
from kdviz.saliency.explain import ExplainState, SaliencyMap, explain, explain_stream, maps_npz
from kdviz.saliency.masks import RandomMasks, samplers
from kdviz.saliency.methods import Method, Setting, methods
from kdviz.saliency.rise import RISE, RISEState, stream_scores

__all__ = [
    "RISE",
    "Estimate",
    "ExplainState",
    "Method",
    "RISEState",
    "RandomMasks",
    "SaliencyMap",
    "Setting",
    "estimate",
    "estimators",
    "explain",
    "explain_stream",
    "maps_npz",
    "methods",
    "samplers",
    "stream_scores",
]
