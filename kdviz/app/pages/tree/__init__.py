"""Tree: a soft decision tree that learned from the teacher, its decisions, and what the teacher added to it."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "tree",
    Page(
        title=N_("Tree"),
        icon="account_tree",
        function="kdviz.app.pages.tree.page:page",
        section=Section.STUDIES,
        position=7,
        question=N_("Does distillation make a model that explains itself?"),
    ),
)
