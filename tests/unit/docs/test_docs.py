"""The documentation says what the code has: every command, option, method, setting and table, and no dead link."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kdviz.app.page_registry import pages

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def written(generate):
    return generate.pages()


def test_the_reference_is_up_to_date(generate, written):
    old = [name for name, text in written.items() if text_of(generate.REFERENCE / name) != text]
    assert not old, f"{old}: python docs/generate.py"


def test_every_command_and_option_is_in_the_reference():
    from kdviz.cli import _parser

    page = text_of(DOCS / "reference" / "command-line.md")
    verbs = next(action.choices for action in _parser()._actions if action.dest == "verb")
    assert len(verbs) >= 11
    for verb, parser in verbs.items():
        section = page.partition(f"\n## kdviz {verb}\n")[2].partition("\n## ")[0]
        assert section, verb
        for option in parser._option_string_actions:
            assert option in ("-h", "--help") or f"`{option}" in section, (verb, option)
        assert not re.search(r"^: *$", section, re.MULTILINE), f"an argument of {verb} has no help"


def test_every_method_and_setting_is_in_the_reference():
    from kdviz.saliency import methods

    page = text_of(DOCS / "reference" / "methods.md")
    for name in methods:
        section = page.partition(f"{{ #{name} }}")[2].partition("\n## ")[0]
        assert f'`method="{name}"`' in section
        for setting in methods[name].settings:
            assert f"| `{setting.name}` | " in section, (name, setting.name)
            assert setting.help in section


def test_a_new_entry_makes_the_reference_old(generate, monkeypatch):
    from kdviz.distill import augmentations

    entry = augmentations[next(iter(augmentations))]
    monkeypatch.setitem(augmentations._entries, "mine", entry)
    assert "| `mine` |" in generate.losses_and_augmentations()


def test_nothing_names_a_path_of_the_machine(written):
    for name, text in written.items():
        assert str(ROOT) not in text, name
        assert str(Path.home()) + "/" not in text, name


@pytest.mark.parametrize("table", sorted((ROOT / "models" / "mnist").glob("*.parquet")), ids=lambda path: path.stem)
def test_every_column_of_a_table_is_described(table):
    page = text_of(DOCS / "reference" / "files.md")
    assert f"`{table.stem}`" in page
    described = set(re.findall(r"`(\w+)\*?`", page))
    starts = tuple(name for name in described if name.endswith("_"))
    missing = [name for name in pq.read_schema(table).names if name not in described and not name.startswith(starts)]
    assert not missing


def test_every_variable_is_described():
    page = text_of(DOCS / "reference" / "environment.md")
    code = "".join(text_of(path) for path in (ROOT / "kdviz").rglob("*.py"))
    internal = {
        "KDVIZ_FIRST",
        "KDVIZ_ERRORS",
        "KDVIZ_ENDS_WITH_STDIN",
    }  # for its own processes
    assert [
        name for name in sorted(set(re.findall(r"KDVIZ_[A-Z_]+", code)) - internal) if f"`{name}`" not in page
    ] == []


def test_every_page_of_the_app_is_described():
    home = text_of(DOCS / "index.md")
    assert [name for name in pages if f"| *{pages[name].title}* | " not in home] == []


def test_every_page_is_in_the_navigation():
    navigation = text_of(ROOT / ".ci" / "mkdocs.yml").partition("\nnav:\n")[2]
    named = set(re.findall(r"[\w/-]+\.md", navigation))
    assert named == {str(path.relative_to(DOCS)) for path in PAGES}


@pytest.mark.parametrize(
    "path", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_lead_somewhere(path):
    for target in LINK.findall(FENCE.sub("", text_of(path))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        to = path.parent / name if name else path
        assert to.exists(), target
        if anchor and to.suffix == ".md":
            assert anchor in anchors(to), target


def anchors(path: Path) -> set[str]:
    """Of headings, as Python-Markdown's extension toc makes them, and those that are written out."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(path)), re.MULTILINE)
    given = {anchor for heading in headings for anchor in re.findall(r"\{ #(\w+) \}", heading)}
    return given | {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


# README -----------------------------------------------------------------------

README = text_of(ROOT / "README.md")


def test_the_readme_is_short_and_has_a_picture():
    assert len(README.splitlines()) <= 200
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) == 1
    assert (ROOT / pictures[0]).stat().st_size <= 300_000


def test_the_readme_has_one_test_command():
    """.ci/run takes it from there, by this pattern."""
    (command,) = re.findall(r"^(python -m pip install .*pytest)$", README, re.MULTILINE)
    assert command.count("pytest") == 1
    assert re.search(r"^python -m pip install .*streamlit run app\.py$", README, re.MULTILINE)


def test_the_readme_has_every_dependency_with_its_reason():
    rows = README.partition("## Dependencies")[2].partition("\n## ")[0]
    requirements = text_of(ROOT / "requirements.txt").splitlines()
    names = [re.split(r"[><=\[]", line)[0] for line in requirements if line and not line.startswith("#")]
    first = " ".join(line.split("|")[1] for line in rows.splitlines() if line.startswith("|"))
    assert len(names) > 10
    assert [name for name in names if name not in re.split(r"[\s,()]+", first)] == []


def test_the_readme_counts_losses_and_recipes():
    from kdviz.cli.common.recipe_files import shipped_recipes
    from kdviz.distill import explanation_losses, feature_losses, teacher_losses

    losses = len(teacher_losses) + len(feature_losses) + len(explanation_losses)
    assert re.search(rf"\b{losses}\s+distillation losses", README)
    assert re.search(rf"\b{len(shipped_recipes())} recipes\s+of papers", README)


def test_every_key_of_the_example_of_a_recipe_is_an_option(tmp_path):
    from kdviz.cli import _parser

    (example,) = re.findall(r"^```toml\n(.*?)^```", text_of(DOCS / "how-to" / "recipes.md"), re.MULTILINE | re.DOTALL)
    file = tmp_path / "mine.toml"
    file.write_text(example)
    options = _parser().parse_args(["train", "--out", "x", "--recipe", str(file)])
    assert (options.dataset, options.temperature, options.no_pretrained) == ("mnist", "20:1:cosine", True)


def test_the_package_says_that_it_has_types():
    assert (ROOT / "kdviz" / "py.typed").is_file()
