"""The pages, a package each, which declares it; see :mod:`kdviz.app.page_registry`."""
