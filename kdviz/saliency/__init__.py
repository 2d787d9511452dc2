"""Saliency: masks, RISE, and every method behind one call."""

from kdviz.explanation.captum_methods import misfit
from kdviz.explanation.explain import (
    Difference,
    ExplainState,
    SaliencyMap,
    difference,
    explain,
    explain_stream,
    maps_npz,
)
from kdviz.explanation.methods import Method, Setting, methods
from kdviz.rise.attribution import RISE, Explained, RISEState, stream_scores
from kdviz.rise.estimators import Estimate, estimate, estimators, reliability
from kdviz.rise.masks import RandomMasks, samplers

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
