"""What a search found, in words."""

from __future__ import annotations


def search_sentences(report, margin=0.005):
    return []
