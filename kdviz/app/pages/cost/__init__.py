"""What each model costs."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "cost",
    Page(
        title=N_("Cost"),
        icon="balance",
        function="kdviz.app.pages.cost.page:page",
        section=Section.STUDIES,
        position=3,
        question=N_("What does each model cost?"),
    ),
)
