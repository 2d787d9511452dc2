"""The page Compression: a tree of models with what each step changed, and what it says without any; no browser."""

from __future__ import annotations

from compression_rows import row, seed
from shortcut_rows import ABOUT, rows_of, write

from kdviz.narrative.products.compression import limit_sentences, run_sentences
from kdviz.narrative.products.shortcut_use import shortcut_use_sentences
from kdviz.studies.compression.report import read_compression_report
from kdviz.studies.compression.shortcut_use import read_shortcut_uses
from kdviz.studies.compression.table import write_compression

PAGE = "compression"


def test_the_page_shows_each_model_below_the_one_that_it_was_made_from(page_of, tiny):
    write_compression(tiny, [row("small", "kd_student"), seed(), row("smallest", "small", "qat")])
    page = page_of(tiny.folder)
    report = read_compression_report(tiny)
    assert report is not None
    texts = " ".join(element.value for element in page.markdown).replace("\\", "")
    for run in report.runs.values():
        for sentence in run_sentences(run):
            assert sentence in texts
    assert all(sentence in texts for sentence in limit_sentences(report))
    (table,) = (element.value for element in page.dataframe)
    assert table["Model"].tolist() == ["kd_student", "\u2003small", "\u2003\u2003smallest", "\u2003kd_student_seed"]
    assert table["Step"].tolist() == [
        "",
        "pruned by 0.5",
        "trained with int8 in mind",
        "trained anew with another seed",
    ]
    assert table["Mended, broken"].tolist() == ["", *["20, 25"] * 3]
    assert len(page.warning) == 2  # the weights of kd_student are not those that two rows were measured with
    assert "Of 3 models only the figures are kept in this folder" in texts


def test_the_page_shows_whether_steps_changed_the_use_of_a_planted_mark(page_of, tiny):
    write_compression(tiny, [row("small", "kd_student")])
    uses = {"kd_student": 0.3, "small": 0.6}
    made_from = {"small": ["kd_student", "prune 0.5"]}
    rows = [each for role, use in uses.items() for each in rows_of(role, use, 0.1)]
    write(tiny, rows, about={**ABOUT, "made_from": made_from})
    page = page_of(tiny.folder)
    assert [element.value for element in page.subheader] == ["Use of a planted mark: a patch"]
    _tree, table = (element.value for element in page.dataframe)
    assert table["Less its parent's (points)"].tolist() == ["+30.0 [+30.0, +30.0]"]
    texts = " ".join(element.value for element in page.markdown).replace("\\", "")
    (condition,) = read_shortcut_uses(tiny)
    assert all(sentence in texts for sentence in shortcut_use_sentences(condition))


def test_without_a_table_one_sentence_says_how_to_make_one(page_of, tiny):
    page = page_of(tiny.folder)
    assert "kdviz compress -e" in page.code[0].value
    assert not page.dataframe
