"""Forms of files with regions, one a module."""
