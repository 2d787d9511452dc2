"""What the teacher's answer says about the other classes."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "dark-knowledge",
    Page(
        title=N_("Dark knowledge"),
        icon="dark_mode",
        function="kdviz.app.pages.dark_knowledge.page:page",
        section=Section.STUDIES,
        position=4,
        question=N_("What does the teacher know of the other classes?"),
        invitation=N_("What the teacher knows of other classes"),
    ),
)
