"""Compression: runs made from runs, and what each step broke."""
