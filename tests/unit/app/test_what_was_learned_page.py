"""The page What was learned: its sentences, chart and tables, and what it says without a study; no browser."""

from __future__ import annotations

from kdviz.core.files import MODELS
from kdviz.experiment import load_experiment
from kdviz.narrative.shifts import shift_sentences
from kdviz.narrative.transfer import confusion_sentences, layer_sentences, verdict_sentences
from kdviz.narrative.transfer_scores import score_sentences
from kdviz.studies.shifts import read_shifts_report
from kdviz.studies.shifts.table import TABLE as SHIFTS
from kdviz.studies.transfer import read_transfer_report
from kdviz.studies.transfer.table import RELEVANCE, SCORES
from kdviz.studies.transfer.table import TABLE as TRANSFER

PAGE = "what_was_learned"


def test_the_page_says_what_the_study_found_and_shows_it(page_of):
    page = page_of(MODELS / "cifar10")
    report = read_transfer_report(load_experiment(MODELS / "cifar10"))
    texts = " ".join(element.value for element in page.markdown).replace("\\", "")
    sentences = [*verdict_sentences(report), *layer_sentences(report), *score_sentences(report)]
    for sentence in (*sentences, *confusion_sentences(report)):
        assert texts.count(sentence) == 1
    assert len(page.get("plotly_chart")) == 2  # and that of shifted pictures
    layers, scores, confusions, errors, _shifted = (table.value for table in page.dataframe)
    assert layers["Layer · teacher's"].tolist() == [*(f"{depth} · {depth}" for depth in range(1, 8)), "logits"]
    expected = [entry.cka.verdict() for entry in report.counterparts("kd_student", "student")]
    titles = {"closer": "Closer", "not closer": "Not closer", "further": "Further", "cannot tell": "Cannot tell"}
    assert layers["Verdict"].tolist() == [titles[verdict] for verdict in expected]
    assert layers["KD student"].tolist() == [f"{entry.cka.value:.3f}" for entry in report.counterparts("kd_student")]
    assert len(scores) == len(SCORES) * 8
    relevance = scores[scores["Score"] == "Relevance"]
    assert relevance["Layer · teacher's"].tolist() == layers["Layer · teacher's"].tolist()
    for role, title in (("kd_student", "KD student"), ("teacher", "Teacher"), ("untrained", "Random weights")):
        entries = [report.score(RELEVANCE, depth, role) for depth in range(1, 9)]
        assert relevance[title].tolist() == [f"{entry.score.value:.3f}" for entry in entries]
    verdicts = [report.score(RELEVANCE, depth, "kd_student", "student").score.verdict() for depth in range(1, 9)]
    titles = {"closer": "Higher", "not closer": "Not higher", "further": "Lower", "cannot tell": "Cannot tell"}
    assert relevance["Verdict"].tolist() == [titles[verdict] for verdict in verdicts]
    assert confusions["T"].tolist() == ["1", "1", "4", "4"]
    assert errors["Teacher's errors"].sum() == 2 * errors["Teacher's errors"][0]  # all, and each class
    assert len(errors) == 11


def test_a_table_of_an_earlier_version_has_no_scores(page_of, tiny):
    table = load_experiment(MODELS / "mnist").table("transfer")
    kept = table.filter([measure not in SCORES for measure in table["measure"].to_pylist()])
    TRANSFER.write(tiny, kept.to_pylist(), TRANSFER.about(table))
    page = page_of(tiny.folder)
    assert "Feature similarity and relevance" not in [element.value for element in page.subheader]
    assert len(page.dataframe) == 3


def test_without_a_study_one_sentence_says_how_to_make_one(page_of, tiny):
    page = page_of(tiny.folder)
    (info,) = page.info
    assert info.value.startswith("This experiment has no study of what was learned yet")
    assert page.code[0].value == f"kdviz study --study transfer -e {tiny.folder} --split bundled"


def test_answers_alone_have_no_chart(page_of, tiny):
    import numpy as np

    from kdviz.studies.transfer.confusions import inherited_rows

    labels = np.arange(20) % 10
    predicted = {"teacher": (labels + 1) % 10, "kd_student": (labels + 1) % 10, "student": labels}
    TRANSFER.write(tiny, inherited_rows(predicted, labels), {"pictures": 0})
    page = page_of(tiny.folder)
    assert not page.get("plotly_chart")
    assert page.dataframe[0].value["KD student"][0] == "100.0%"


def test_shifted_pictures_have_sentences_a_chart_and_a_table(page_of):
    page = page_of(MODELS / "mnist")
    report = read_shifts_report(load_experiment(MODELS / "mnist"))
    texts = " ".join(element.value for element in page.markdown).replace("\\", "")
    for sentence in shift_sentences(report)[:-1]:  # the last one stands among the limits, too
        assert texts.count(sentence) == 1
    assert len(page.get("plotly_chart")) == 2
    table = page.dataframe[-1].value
    assert table["Shift"].tolist() == ["None", *(shift.replace("_", " ") for shift in report.shifts), "Mean over all"]
    titles = {"holds better": "Holds better", "holds worse": "Holds worse", "cannot tell": "Cannot tell"}
    gains = [report.gain("accuracy", shift) for shift in ("", *report.shifts, "*")]
    assert table["Verdict"].tolist() == [titles[report.verdict(gain)] for gain in gains]
    assert table["Student alone"].tolist()[-1] == f"{report.share('accuracy', 'student'):.1%}"
    page.selectbox[0].select("scale").run()
    assert not page.exception
    assert page.query_params["shift"] == "scale"


def test_shifts_are_shown_where_nothing_else_was_studied(page_of, tiny):
    table = load_experiment(MODELS / "mnist").table("shifts")
    SHIFTS.write(tiny, table.to_pylist(), SHIFTS.about(table))
    page = page_of(tiny.folder)
    assert "no study of what was learned yet" in page.info[0].value
    assert len(page.dataframe) == 1
