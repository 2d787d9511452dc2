"""Which models are loaded, and where experiments are uploaded."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "models",
    Page(
        title=N_("Models"),
        icon="deployed_code",
        function="kdviz.app.pages.models.page:page",
        section=Section.ABOUT,
        position=1,
        question=N_("Which models are loaded?"),
    ),
)
