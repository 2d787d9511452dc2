"""Comparisons of an experiment's models, and what their results allow to conclude."""
