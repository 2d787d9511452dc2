"""Held-out samples by who gets them wrong."""

from kdviz.app.page_registry import Page, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "mistakes",
    Page(
        title=N_("Mistakes"),
        icon="fact_check",
        function="kdviz.app.pages.mistakes.page:page",
        position=2,
        question=N_("Who gets it wrong?"),
    ),
)
