"""The first page: may the student stand in for its teacher?"""

from kdviz.app.page_registry import Page, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "overview",
    Page(
        title=N_("Overview"),
        icon="dashboard",
        function="kdviz.app.pages.overview.page:page",
        position=0,
        question=N_("May the student stand in for its teacher?"),
    ),
)
