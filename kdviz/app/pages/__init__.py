"""The pages of the app, one package each, which declares its page; see :mod:`kdviz.app.page_registry`."""
