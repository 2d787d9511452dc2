"""Readers of data sets: files to labelled images."""
