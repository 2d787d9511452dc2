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
"""The page at the server's address itself."""


class Section(StrEnum):
    """The headings of the navigation, in their order. Texts to be translated."""

    MAIN = ""
    STUDIES = N_("Studies")
    ABOUT = N_("About")


class Need(StrEnum):
    """What a page is about, and cannot do without."""

    EXPERIMENT = "experiment"
    """The experiment that the address names."""
    TRAINING = "training"
    """An experiment whose models kdviz trained itself: those of an imported one were trained elsewhere."""


@dataclass(frozen=True)
class Page:
    """One page. Its name in the registry is its path in the address.

    Attributes:
        title: In the navigation; a text to be translated.
        icon: The name of a Material symbol.
        function: What draws the page: ``module:function``, which is imported when the page is first opened, or the
            function itself.
        section: Its heading in the navigation.
        position: Its place below that heading; pages of the same position are in the order of their names.
        question: The page's heading; empty: its title.
        invitation: What the link on the first page says; empty: that page has no link to this one.
        needs: What it cannot do without.
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
        """The page's heading, to be translated."""
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
