"""The topics of the page Methods and limits: what the app computes, with its formulae, and what that does not say."""

from kdviz.ui.topics.lists import choosing, glossary, limits, references
from kdviz.ui.topics.maps import agreement, estimators, faithfulness, reading, rise, uncertainty
from kdviz.ui.topics.training import distillation, errors

__all__ = [
    "agreement",
    "choosing",
    "distillation",
    "errors",
    "estimators",
    "faithfulness",
    "glossary",
    "limits",
    "reading",
    "references",
    "rise",
    "uncertainty",
]
