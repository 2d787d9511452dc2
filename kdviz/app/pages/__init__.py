"""A module or a folder for each page."""
