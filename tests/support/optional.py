"""Packages that not every machine has, and that take seconds to import: each process of a run collects all files."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def needs(*packages: str, reason: str = "") -> pytest.MarkDecorator:
    """A mark by which tests are skipped where a package is missing; nothing is imported."""
    missing = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=reason or f"{', '.join(packages)}: not installed")
