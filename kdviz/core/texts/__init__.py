"""Texts of commands: lists that people write, counts and times that they read."""
