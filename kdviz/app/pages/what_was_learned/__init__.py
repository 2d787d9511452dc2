"""What distillation transferred: which layers, confusions and errors of its teacher the student has."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "what-was-learned",
    Page(
        title=N_("What was learned"),
        icon="school",
        function="kdviz.app.pages.what_was_learned.page:page",
        section=Section.STUDIES,
        position=6,
        question=N_("What has the student learned from its teacher?"),
    ),
)
