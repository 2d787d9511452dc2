"""Compare: one picture, a map a model, side by side."""

from kdviz.ui.compare.page import page

__all__ = ["page"]
