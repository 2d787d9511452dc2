"""Registries: filled when first read, from the files of a package, then by plugins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kdviz.core import plugins
from kdviz.core.errors import UnknownNameError
from kdviz.core.registry import Registry

EAGER = "from shop import catalogue\ncatalogue.add('{name}', '{name}!')\n"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A package whose registry lists the files of one folder by name, and imports all of another."""
    root = tmp_path / "shop"
    for folder in ("eager", "lazy"):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").write_text("")
    (root / "__init__.py").write_text(
        "from kdviz.core.registry import Registry\n"
        "catalogue = Registry('fruit', 'shop.eager')\n"
        "heavy = Registry('stone', 'shop.lazy', one_per_file=True)\n"
    )
    (root / "eager" / "apple.py").write_text(EAGER.format(name="apple"))
    (root / "eager" / "pear.py").write_text(EAGER.format(name="pear"))
    (root / "eager" / "_shared.py").write_text("raise RuntimeError('no entry')\n")
    (root / "lazy" / "flint.py").write_text("from shop import heavy\nheavy.add('flint', 7)\n")
    (root / "lazy" / "broken.py").write_text("raise RuntimeError('must not be imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("shop")
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def test_a_registry_imports_the_files_of_its_package_when_it_is_first_read(shop):
    assert "shop.eager.apple" not in sys.modules
    assert sorted(shop.catalogue) == ["apple", "pear"]
    assert shop.catalogue["pear"] == "pear!"
    assert shop.catalogue.get("plum") is None
    assert "plum" not in shop.catalogue


def test_a_file_that_is_imported_by_itself_registers_its_entry_once(shop):
    __import__("shop.eager.pear")
    assert sorted(shop.catalogue) == ["apple", "pear"]


def test_entries_named_after_their_files_are_imported_one_by_one(shop):
    assert list(shop.heavy) == ["broken", "flint"]
    assert shop.heavy["flint"] == 7
    assert "shop.lazy.broken" not in sys.modules


def test_a_name_is_taken_before_its_file_is_imported(shop):
    with pytest.raises(ValueError, match="stone 'flint' is already registered"):
        shop.heavy.add("flint", 8)
    with pytest.raises(ValueError, match="fruit 'apple' is already registered"):
        shop.catalogue.add("apple", "")
    assert shop.heavy["flint"] == 7


def test_an_unknown_name_suggests_the_closest(shop):
    with pytest.raises(UnknownNameError, match=r"Unknown stone 'flimt'\. Did you mean 'flint'"):
        shop.heavy["flimt"]


@pytest.fixture
def no_plugins_yet(monkeypatch):
    monkeypatch.setitem(plugins._state, "loaded", False)


def install(folder: Path, name: str, module: str, source: str) -> None:
    """A distribution with one module, as pip lays it out."""
    (folder / f"{module}.py").write_text(source)
    about = folder / f"{name}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[kdviz.plugins]\n{name} = {module}\n")


def test_a_plugin_that_fails_is_one_warning_and_the_others_are_loaded(tmp_path, monkeypatch, no_plugins_yet):
    install(tmp_path, "a-broken", "kdviz_test_broken", "raise RuntimeError('no luck')\n")
    install(tmp_path, "b-fine", "kdviz_test_fine", "")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry[int]("number")
    with pytest.warns(plugins.PluginWarning, match="'a-broken' .*left out: no luck") as said:
        assert len(registry) == 0
    assert len(said) == 1
    assert "kdviz_test_fine" in sys.modules
    assert "anything" not in registry  # without a second warning
