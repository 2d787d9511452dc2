"""The web app. No other package imports streamlit; everything that it shows is available in a notebook, too."""

from kdviz.app.shell import lifespan, main, middleware

__all__ = ["lifespan", "main", "middleware"]
