"""The pages. The only package that imports streamlit; everything it shows can be had in a notebook too."""

from kdviz.app.shell import lifespan, main, middleware

__all__ = ["lifespan", "main", "middleware"]
