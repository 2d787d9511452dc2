"""Agreements of maps, and effects with their uncertainty."""
