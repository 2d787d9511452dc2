"""Methods and limits."""

from kdviz.language import _
from kdviz.ui import address
from kdviz.ui.top import plain_heading


def page() -> None:
    address.only("topic")
    plain_heading(_("Methods and limits"))
