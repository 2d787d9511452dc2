"""What browser tests change of pages is there under these names."""

from __future__ import annotations

import importlib

import pytest
from seldom import VALUES


@pytest.mark.parametrize("name", VALUES)
def test_the_pages_have_what_is_set(name: str) -> None:
    assert vars(importlib.import_module(name)).keys() >= VALUES[name].keys()
