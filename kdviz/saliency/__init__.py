"""Saliency: masks, RISE, and every method behind one call."""

from kdviz.saliency.captum_methods import misfit
from kdviz.saliency.estimators import Estimate, estimate, estimators, reliability
from kdviz.saliency.explain import (
    Difference,
    ExplainState,
    SaliencyMap,
    difference,
    explain,
    explain_stream,
    maps_npz,
)
from kdviz.saliency.masks import RandomMasks, samplers
from kdviz.saliency.methods import Method, Setting, methods
from kdviz.saliency.rise import RISE, Explained, RISEState, stream_scores

__all__ = [
    "RISE",
    "Difference",
    "Estimate",
    "ExplainState",
    "Explained",
    "Method",
    "RISEState",
    "RandomMasks",
    "SaliencyMap",
    "Setting",
    "difference",
    "estimate",
    "estimators",
    "explain",
    "explain_stream",
    "maps_npz",
    "methods",
    "misfit",
    "reliability",
    "samplers",
    "stream_scores",
]
