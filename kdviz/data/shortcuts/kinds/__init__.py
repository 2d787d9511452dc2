"""Kinds of shortcuts, one a file of its name."""
