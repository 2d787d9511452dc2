"""All sentences about results; the numbers come from :mod:`kdviz.studies` and :mod:`kdviz.compress`."""
