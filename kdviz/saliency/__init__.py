"""The public API of saliency maps: masks, RISE, and every method behind one call."""

from typing import TYPE_CHECKING, Any

from kdviz.core.moved import warn_renamed
from kdviz.explanation.captum.attribution import incompatibility
from kdviz.explanation.explain import explain, explain_stream
from kdviz.explanation.explain_state import ExplainState
from kdviz.explanation.method import Method, Setting
from kdviz.explanation.methods import methods, register_method
from kdviz.explanation.saliency_map import MapDifference, SaliencyMap, difference, maps_npz
from kdviz.rise.estimators import Estimate, estimate, estimators, reliability
from kdviz.rise.masks import RandomMasks, samplers
from kdviz.rise.settings import RISESettings
from kdviz.rise.states import ModelWithActivation, RISEState
from kdviz.rise.streaming import stream_scores

if TYPE_CHECKING:
    from kdviz.rise.attribution import RISE

__all__ = [
    "RISE",
    "Estimate",
    "ExplainState",
    "MapDifference",
    "Method",
    "ModelWithActivation",
    "RISESettings",
    "RISEState",
    "RandomMasks",
    "SaliencyMap",
    "Setting",
    "difference",
    "estimate",
    "estimators",
    "explain",
    "explain_stream",
    "incompatibility",
    "maps_npz",
    "methods",
    "register_method",
    "reliability",
    "samplers",
    "stream_scores",
]

_RENAMED = {"Difference": "MapDifference", "Explained": "ModelWithActivation", "misfit": "incompatibility"}


def __getattr__(name: str) -> Any:
    """RISE, which brings Captum and Matplotlib and is loaded by its first use; former names, with a warning."""
    if name == "RISE":
        from kdviz.rise.attribution import RISE

        return RISE
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warn_renamed(f"{__name__}.{name}", _RENAMED[name])
    return globals()[_RENAMED[name]]
