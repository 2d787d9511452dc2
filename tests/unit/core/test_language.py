"""Both languages are complete: no text is without a translation, none is translated wrongly, none is unmarked."""

from __future__ import annotations

import functools
import importlib.util
import json
import pickle
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from static_texts import bare, sentences, unmarked

from kdviz import figures
from kdviz.core import language
from kdviz.core.errors import KdvizError, Sentence, UnknownNameError
from kdviz.core.language import (
    ENGLISH,
    ERRORS,
    LANGUAGES,
    _,
    best_language,
    error_text,
    listed,
    number,
    percent,
    plural,
    signed,
    speaking,
)
from kdviz.figures import files
from kdviz.figures.chart import Chart

ROOT = Path(__file__).resolve().parents[3]
OTHERS = [name for name in LANGUAGES if name != ENGLISH]
PLACE = re.compile(r"(?<!\{)\{(\w+(?:![rsa])?(?::[^}]*)?)\}(?!\})")
FIELD = re.compile(r"(?<!\{)\{(\w+)((?:![rsa])?(?::[^}]*)?)\}(?!\})")
MARKDOWN = [r"\*\*", r":[a-z]+\[", r"`", r"\$", r"<br>", r"%\{\w+\}", r"^- ", r"\n"]


def _update():
    spec = importlib.util.spec_from_file_location("update", ROOT / "assets" / "locale" / "update.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


update = _update()
merged = functools.cache(update.merged)  # seconds, which only the process that runs this file should spend


def messages() -> Iterator[tuple[str, Message]]:
    """The translated texts of all languages."""
    for name in OTHERS:
        catalogue, missing, _ = merged(name)
        yield from ((name, message) for message in catalogue if message.id and message not in missing)


def _english(message: Message) -> list[str]:
    return [message.id] if isinstance(message.id, str) else list(message.id)


def _translated(message: Message) -> list[str]:
    return [message.string] if isinstance(message.string, str) else list(message.string)


# catalogues -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.slow
def test_every_text_of_the_code_is_translated_and_no_other(name: str) -> None:
    catalogue, missing, gone = merged(name)
    assert len(catalogue) > 1000
    assert [message.id for message in missing] == [], "translate these; see assets/locale/update.py"
    assert [message.id for message in gone] == [], "run assets/locale/update.py"


@pytest.mark.parametrize("name", OTHERS)
def test_a_catalogue_is_laid_out_as_the_program_writes_it(name: str) -> None:
    text = (update.HERE / f"{name}.po").read_text(encoding="utf-8")
    assert text == update.laid_out(merged(name)[0], name), "run assets/locale/update.py"


def test_translations_have_the_places_of_their_texts() -> None:
    wrong = [
        (name, message.id)
        for name, message in messages()
        for text in _translated(message)
        if {*PLACE.findall(text)} != {*PLACE.findall(_english(message)[-1])} or text.count("{") != text.count("}")
    ]
    assert wrong == []


def test_translations_have_the_markup_of_their_texts() -> None:
    wrong = [
        (name, message.id, mark)
        for name, message in messages()
        for mark in MARKDOWN
        if len(re.findall(mark, _translated(message)[0])) != len(re.findall(mark, _english(message)[0]))
    ]
    assert wrong == []


def test_chinese_has_chinese_punctuation_and_no_space_between_its_characters() -> None:
    han = "[\u4e00-\u9fff]"
    odd = re.compile(rf"{han}[,;:?!()]|[,;?!(]{han}|{han}\.(?:\s|$)|{han} {han}")
    wrong = [
        message.string
        for name, message in messages()
        if name == "zh_CN"
        for text in _translated(message)
        if odd.search(text)
    ]
    assert wrong == []


def test_a_translation_is_none_that_was_forgotten() -> None:
    same = [
        message.id
        for name, message in messages()
        if _translated(message)[0] == _english(message)[0] and sentences(_english(message)[0])
    ]
    assert same == []


def test_a_plural_has_as_many_forms_as_the_language() -> None:
    forms = {count: plural("{count} image", "{count} images", count) for count in (0, 1, 2, 1500)}
    assert forms == {0: "0 images", 1: "1 image", 2: "2 images", 1500: "1,500 images"}
    with speaking("zh_CN"):
        assert [plural("{count} image", "{count} images", count) for count in (1, 1500)] == ["1 张图片", "1,500 张图片"]


# the program that makes them ------------------------------------------------------------------------------------------


def test_texts_inside_of_other_texts_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kdviz").mkdir()
    (tmp_path / "kdviz" / "a.py").write_text(
        "st.markdown(f\"**{_('Inside')}**\")\n"
        'x = N_("In " "two")\n'
        'plural("{count} row", "{count} rows", 3)\n'
        '_(f"not {this}")\n'
        'raise ModelError("{name} has {count} of {share:.1f}, " "not {count}.", name=self.name, count=2, share=y)\n'
        'raise ValueError("of nobody\'s business")\n'
    )
    (tmp_path / "page.html").write_text('<p>{{ _("In a page") }} {{ _("Of {name}", name=x) }}</p>')
    for name, value in (("ROOT", tmp_path), ("CODE", tmp_path / "kdviz"), ("PAGES", tmp_path)):
        monkeypatch.setattr(update, name, value)
    monkeypatch.setattr(update, "_name", lambda path: path.name)
    texts = {text for text, _place in update.texts()}
    assert texts == {"Inside", "In two", ("{count} row", "{count} rows"), "In a page", "Of {name}"}
    assert [text for text, _place in update.errors()] == ["{name} has {count} of {share:.1f}, not {count}."]


def test_a_new_text_is_missing_and_an_old_one_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = update.HEADER.format(name="zh_CN", plurals="nplurals=1; plural=0;")
    (tmp_path / "zh_CN.po").write_text(
        f'{header}msgid "Kept"\nmsgstr "留"\n\nmsgid "Gone"\nmsgstr "去"\n', encoding="utf-8"
    )
    monkeypatch.setattr(update, "HERE", tmp_path)
    monkeypatch.setattr(update, "texts", lambda: iter([("Kept", "a.py"), ("New", "a.py"), ("Kept", "b.py")]))
    monkeypatch.setattr(update, "errors", lambda: iter([("Kept", "a.py")]))
    catalogue, missing, gone = update.merged("zh_CN")
    assert [(message.id, message.context) for message in missing] == [("New", None), ("Kept", ERRORS)]
    assert [message.id for message in gone] == ["Gone"]
    monkeypatch.setattr(sys, "argv", ["update.py", "--check"])
    assert update.main() == 1
    monkeypatch.setattr(sys, "argv", ["update.py"])
    assert update.main() == 0
    text = (tmp_path / "zh_CN.po").read_text(encoding="utf-8")
    assert text == update.laid_out(catalogue, "zh_CN")
    assert 'msgid "Kept"\nmsgstr "留"' in text
    assert "Gone" not in text


# errors ---------------------------------------------------------------------------------------------------------------


def _error_messages() -> Iterator[tuple[str, Message]]:
    return ((name, message) for name, message in messages() if message.context == ERRORS)


@pytest.mark.parametrize("value", ["x{}", "my picture {}.png", "(1, {})"])
def test_each_error_is_found_by_its_template(value: str) -> None:
    """Filled with values it comes back as its own translation, whatever the values are."""
    wrong = []
    for name, message in _error_messages():
        places = {field: _value(spec, value, count) for count, (field, spec) in enumerate(FIELD.findall(message.id), 1)}
        with speaking(name):
            text = error_text(KdvizError(message.id, **places))
            expected = message.string.format(**places) if places else message.string
        if text != expected:
            wrong.append((message.id, text, expected))
    assert wrong == []


def _value(spec: str, text: str, count: int) -> float | str:
    return count if re.search(r"[gfd%,]", spec) else text.format(count)


def test_an_error_is_said_in_the_language() -> None:
    error = UnknownNameError("experiment", "minst", ["mnist", "shapes"])
    assert error_text(error) == str(error)
    with speaking("zh_CN"):
        assert error_text(error) == "未知的实验“minst”。您是指“mnist”吗？可用的有：mnist, shapes。"
        other = UnknownNameError("method", "zzz", ["rise"])
        assert error_text(other) == "未知的方法“zzz”。可用的有：rise。"
        of_method = UnknownNameError(Sentence("setting of {title}", title="Occlusion"), "zzz", ["window"])
        assert "遮挡法（Occlusion）的设置" in error_text(of_method)


def test_an_error_inside_of_another_is_translated_too() -> None:
    inner = KdvizError("This experiment has no cost.parquet yet.")
    with speaking("zh_CN"):
        assert error_text(Sentence("The measurement failed: {error}", error=inner)) == (
            "测量失败：本实验还没有 cost.parquet。"
        )


def test_values_are_no_templates_and_no_words() -> None:
    """A file of a strange name is shown as it is, and a name that is a word of the page is not translated."""
    sentence = Sentence("The measurement failed: {error}", error="{error} {0} %s teacher")
    assert str(sentence) == "The measurement failed: {error} {0} %s teacher"
    with speaking("zh_CN"):
        assert error_text(sentence) == "测量失败：{error} {0} %s teacher"


def test_a_sentence_survives_pickle_json_and_its_place_in_another() -> None:
    part = Sentence("needs a layer with places near the end of {network}, {share:.0%} in", network="'x'", share=0.5)
    whole = part.within("{method} {}", method="Grad-CAM")
    assert whole == "Grad-CAM needs a layer with places near the end of 'x', 50% in"
    for copy in (pickle.loads(pickle.dumps(whole)), Sentence.from_json(json.loads(json.dumps(whole.to_json())))):
        assert copy == whole
        assert (copy.template, copy.values) == (whole.template, whole.values)
    renamed = whole.replaced(lambda text: text.replace("x", "y"))
    assert renamed == "Grad-CAM needs a layer with places near the end of 'y', 50% in"
    error = pickle.loads(pickle.dumps(KdvizError("{path} is no {kind}.", path=Path("a"), kind="zip")))
    assert (str(error), error.sentence.template) == ("a is no zip.", "{path} is no {kind}.")


def test_what_no_template_fits_stays_as_it_is() -> None:
    with speaking("zh_CN"):
        assert error_text("Something {odd} from elsewhere.") == "Something {odd} from elsewhere."
        assert error_text("") == ""


# the choice -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("zh-CN", "zh_CN"),
        ("zh-Hans-CN", "zh_CN"),
        ("zh", "zh_CN"),
        ("ZH_cn", "zh_CN"),
        ("zh-TW", "zh_CN"),  # the only Chinese there is is nearer than English
        ("en-GB", "en"),
        ("de", "en"),
        ("zha-CN", "en"),
        ("", "en"),
        (None, "en"),
    ],
)
def test_a_browsers_language(wanted: str | None, expected: str) -> None:
    assert best_language(wanted) == expected


def test_the_language_is_that_of_the_block_then_of_the_page_then_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "_ask", lambda: None)
    assert language.language() == ENGLISH
    monkeypatch.setattr(language, "_ask", lambda: "zh_CN")
    assert (_("Compare"), number(3)) == ("比较", "3")
    with speaking(ENGLISH):
        assert _("Compare") == "Compare"
        with speaking("zh_CN"):
            assert _("Compare") == "比较"
    assert _("Compare") == "比较"


def test_a_text_without_translation_stays_english() -> None:
    with speaking("zh_CN"):
        assert _("No such text of {name}", name="x") == "No such text of x"


@pytest.mark.parametrize("name", LANGUAGES)
def test_numbers(name: str) -> None:
    with speaking(name):
        assert number(1234567.891, 2) == "1,234,567.89"
        assert number(12) == "12"
        assert percent(0.98765) == "98.8%"
        assert percent(0.5, 2) == "50.00%"
        assert signed(0.681, 2) == "+0.68"
        assert signed(-1234.5, 1) == "-1,234.5"
        assert [number(-0.0004, 3), number(-0.0, 1), percent(-0.0004)] == ["0.000", "0.0", "0.0%"]
        assert [signed(-0.0004, 3), signed(0.0, 3), number(-0.0006, 3)] == ["0.000", "0.000", "-0.001"]
        assert number(float("nan"), 2) == percent(float("inf")) == "–"
        assert number(1e300, 4) == "1e+300"
        assert listed(["a", "b"]) == ("a, b" if name == ENGLISH else "a、b")


# files ----------------------------------------------------------------------------------------------------------------


def test_a_file_is_in_english_where_no_font_writes_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    chart = Chart(lambda: None)
    chart.file_form(lambda: said.append(_("Compare")) or files.new_figure(1, 1))
    with speaking("zh_CN"):
        monkeypatch.setattr(files, "_installed_fonts", lambda name: ())
        chart.file("png")
        assert (files.can_write(), said[-1]) == (False, "Compare")
        monkeypatch.setattr(files, "_installed_fonts", lambda name: ("DejaVu Sans",))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that font has no such characters
            chart.file("png")
        assert (files.can_write(), said[-1]) == (True, "比较")
    chart.file("png")
    assert said[-1] == "Compare"


def test_every_figure_as_a_file_is_a_chart_which_asks_for_a_font() -> None:
    plain = [name for name in figures.__all__ if name.endswith("_file") and name != "picture_file"]
    assert plain == []


def test_files_with_a_rule_of_their_own_are_there() -> None:
    assert update.missing_files() == []


# unmarked texts -------------------------------------------------------------------------------------------------------

ALLOWED = (
    "^(overview|methods)$",  # names of pages, for links
    r"^kdviz\.figures\. is now ",  # a warning for programmers
    r"\(\d{4}\)\. ",  # a paper is cited in its own words
    "^(Noto|Source Han|WenQuanYi|Arial) ",  # fonts
    "^outside upper center$",  # a place, for Matplotlib
    "^(cannot be told( from)?|does not beat|is equivalent to)$",  # outcomes, which are names
    "^(all three right|less other images|KD student wrong|student alone wrong)",  # likewise
    "^mistakes of the teacher that",
    "^its is larger than MB$",  # the name of a file is inside
    "^(teacher of )?(epochs|alone|shuffled), seed$",  # names of the models of a study
    "^(one training of each student|the interval (lies|is|has)|the effect that the control)",  # rules, in JSON alone
    "^(Score intervals|Intervals (over|of)|The study's 95 % interval)|^seeds and samples$",  # likewise
    "^findfont: ",  # the beginning of a message of Matplotlib
    "^zeros ones empty ",  # torch's operators
)
SHOWN = ("app", "figures", "narrative", "studies", "compress")
IN_ENGLISH = (  # what a document of results says, and what goes with an exported model
    *(f"narrative/results/{name}.py" for name in ("document", "models", "sections", "studies")),
    "narrative/attention/markdown.py",
    "narrative/products/model_card.py",
    "compress/export/example.py",
)


@pytest.mark.slow
def test_no_text_is_unmarked() -> None:
    catalogue, _missing, _gone = merged(OTHERS[0])
    of_errors = "\n".join(bare(_english(message)[0]) for message in catalogue if message.context == ERRORS)
    known = [(ROOT / "kdviz").glob(f"{name}/**/*.py") for name in SHOWN]
    english = {ROOT / "kdviz" / name for name in IN_ENGLISH}
    paths = [path for folder_paths in known for path in sorted(folder_paths) if path not in english]
    assert len(paths) > 60
    unmarked_texts = [
        f"{path.name}: {text}"
        for path in paths
        for text in unmarked(path)
        if text not in of_errors and not any(re.search(pattern, text) for pattern in ALLOWED)
    ]
    assert unmarked_texts == [], "mark these for translation; see kdviz/core/language.py"


def test_every_chart_is_told_the_language() -> None:
    pages = sorted((ROOT / "kdviz" / "app").rglob("*.py"))
    assert [page.name for page in pages if "st.plotly_chart(" in page.read_text(encoding="utf-8")] == ["chart.py"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('st.markdown("Some words")', ["Some words"]),
        ('st.button(_("Go"), help="Why")', ["Why"]),
        ('st.caption(f"{count} images")', ["images"]),
        ('x = {"label": "not for you yet"}', ["not for you yet"]),
        ('figure.update_xaxes(title="Epoch")', ["Epoch"]),
        ('st.tabs(["One", _("Two")])', ["One"]),
        ('st.button(_("Go"), icon=":material/add:")', []),
        ('download("PNG", name, "image/png", make)', []),
        ('st.markdown(f"**{_(title)}**")', []),
        ('raise ModelError("no such thing here")', []),
        ('"""A docstring of words."""', []),
        ('hovertemplate = "%{y:.2%} ± %{z}<extra></extra>"', []),
        ('if x == "this or that thing": ...', []),
    ],
)
def test_what_counts_as_unmarked(code: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(code)
    assert list(unmarked(path)) == expected
