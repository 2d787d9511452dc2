"""Kinds of shifts, one a file of its name."""
