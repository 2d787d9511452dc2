"""Compression: the models that were made from models, what each step cost and saved, and what it changed."""

from kdviz.app.page_registry import Page, Section, pages
from kdviz.core.language import N_

PAGE = pages.add(
    "compression",
    Page(
        title=N_("Compression"),
        icon="compress",
        function="kdviz.app.pages.compression.page:page",
        section=Section.STUDIES,
        position=8,
        question=N_("What did each step of compression break?"),
    ),
)
