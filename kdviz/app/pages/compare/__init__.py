"""One picture, a map a model, side by side."""

from kdviz.app.page_registry import Page, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "compare",
    Page(
        title=N_("Compare"),
        icon="compare",
        function="kdviz.app.pages.compare.page:page",
        position=1,
        question=N_("Does the student look where the teacher looks?"),
        invitation=N_("Explain a picture of your own"),
    ),
)
