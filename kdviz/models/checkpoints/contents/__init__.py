"""Tensors in files of every format."""
