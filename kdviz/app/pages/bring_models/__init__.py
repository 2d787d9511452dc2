"""Trained models become an experiment of the session."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "bring",
    Page(
        title=N_("Bring your models"),
        icon="upload_file",
        function="kdviz.app.pages.bring_models.page:page",
        section=Section.ABOUT,
        position=0,
        invitation=N_("Bring your models"),
        needs=frozenset(),
    ),
)
