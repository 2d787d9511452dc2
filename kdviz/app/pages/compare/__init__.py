"""Compare: one picture, a map a model, side by side."""

from kdviz.app.pages.compare.page import page

__all__ = ["page"]
