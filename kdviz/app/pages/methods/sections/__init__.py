"""The topics of the page Methods and limits: what the app computes, with its formulae, and what that does not say."""

from kdviz.app.pages.methods.sections.lists import choosing, glossary, limits, references
from kdviz.app.pages.methods.sections.maps import agreement, estimators, faithfulness, reading, rise, uncertainty
from kdviz.app.pages.methods.sections.training import distillation, errors

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
