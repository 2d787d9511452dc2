"""Maps of a picture by the models of an experiment: one call for all methods."""
