"""Whether models use a planted shortcut, and whether a student inherits it."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "shortcuts",
    Page(
        title=N_("Shortcuts"),
        icon="alt_route",
        function="kdviz.app.pages.shortcuts.page:page",
        section=Section.STUDIES,
        position=5,
        question=N_("Does the student inherit its teacher's shortcut?"),
    ),
)
