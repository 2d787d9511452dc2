"""Search: the trials of kdviz tune, their Pareto front, what mattered, and the winner's test."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "search",
    Page(
        title=N_("Search"),
        icon="manage_search",
        function="kdviz.app.pages.search.page:page",
        section=Section.STUDIES,
        position=9,
        question=N_("Which recipe of distillation is best?"),
    ),
)
