"""Losses beside each other: which teaches the student where to look, and at what price."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "losses",
    Page(
        title=N_("Losses"),
        icon="balance",
        function="kdviz.app.pages.losses.page:page",
        section=Section.STUDIES,
        position=2,
        question=N_("Which loss teaches where to look?"),
    ),
)
