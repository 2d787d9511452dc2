"""The pages of the app. Each is declared once, in ``kdviz/app/pages/<page>/__init__.py``, and read without torch.

The navigation, links between pages, the headings and the tests follow from :data:`pages`. A plugin adds a page with
:meth:`~kdviz.core.registry.Registry.add`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from kdviz.core.language import N_
from kdviz.core.registry import Registry

FIRST = "overview"
"""Name of the page at the server's root address."""


class Section(StrEnum):
    """Headings of the navigation, in their order; texts to be translated."""

    MAIN = ""
    STUDIES = N_("Studies")
    ABOUT = N_("About")


class Need(StrEnum):
    """What a page requires."""

    EXPERIMENT = "experiment"
    """The experiment that the address names."""
    TRAINING = "training"
    """An experiment whose models kdviz trained itself: those of an imported one were trained elsewhere."""


@dataclass(frozen=True)
class Page:
    """A page of the app. Its name in the registry is its path in the address.

    Attributes:
        title: Title in the navigation; a text to be translated.
        icon: Name of a Material symbol.
        function: The function that draws the page, or ``module:function``, which is imported when the page is first
            opened.
        section: Heading of the navigation under which the page is listed.
        position: Sort key under that heading; pages with the same one are sorted by name.
        question: Heading of the page; if it is empty, the title.
        invitation: Text of the link on the first page; if it is empty, there is none.
        needs: What the page requires.
    """

    title: str
    icon: str
    function: str | Callable[[], None]
    section: Section = Section.MAIN
    position: int = 100
    question: str = ""
    invitation: str = ""
    needs: frozenset[Need] = frozenset({Need.EXPERIMENT})

    @property
    def heading(self) -> str:
        """Heading of the page, to be translated."""
        return self.question or self.title

    def draw(self) -> None:
        """Draw the page."""
        function = self.function
        if isinstance(function, str):
            module, _colon, name = function.partition(":")
            function = getattr(importlib.import_module(module), name)
        function()


pages: Registry[Page] = Registry("page", "kdviz.app.pages")


def path_of(name: str) -> str:
    """A page's path in the address."""
    return "" if name == FIRST else name


def navigation() -> dict[Section, list[str]]:
    """Heading -> names of its pages, in the order of the navigation."""
    names = sorted(pages, key=lambda name: (pages[name].position, name))
    return {section: [name for name in names if pages[name].section == section] for section in Section}
