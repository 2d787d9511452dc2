"""Whether distillation teaches where to look, over a test set."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "attention",
    Page(
        title=N_("Attention study"),
        icon="visibility",
        function="kdviz.app.pages.attention.page:page",
        section=Section.STUDIES,
        position=2,
        question=N_("Does distillation teach where to look?"),
    ),
)
