"""Figures of an attention study: distributions with ceilings, the effect with its controls, and against values."""

from kdviz.figures.attention.claim import claim_and_controls
from kdviz.figures.attention.distribution import agreement_distribution
from kdviz.figures.attention.values import effect_against_value

__all__ = ["agreement_distribution", "claim_and_controls", "effect_against_value"]
