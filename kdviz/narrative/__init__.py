"""Every sentence that is made of results. The numbers come from :mod:`kdviz.studies` and :mod:`kdviz.compress`."""
