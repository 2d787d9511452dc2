"""The page Compression: a tree of models with what each step changed, and what it says without any; no browser."""

from __future__ import annotations

from compression_rows import row, seed

from kdviz.narrative.products.compression import limit_sentences, run_sentences
from kdviz.studies.compression.report import read_compression_report
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


def test_without_a_table_one_sentence_says_how_to_make_one(page_of, tiny):
    page = page_of(tiny.folder)
    assert "kdviz compress -e" in page.code[0].value
    assert not page.dataframe
