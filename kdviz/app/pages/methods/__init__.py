"""What is computed, by which formulae, and what it does not say."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "methods",
    Page(
        title=N_("Methods and limits"),
        icon="menu_book",
        function="kdviz.app.pages.methods.page:page",
        section=Section.ABOUT,
        position=2,
        invitation=N_("What a map says, and what it does not"),
        needs=frozenset(),
    ),
)
