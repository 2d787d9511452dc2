"""A search: its ranges, its front, its winner, and what its tables allow to say."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import search_rows
from search_rows import ABOUT, SAMPLES, SETTINGS, final, trial, trials

from kdviz.core.errors import ExperimentError, KdvizError, SettingError
from kdviz.distill import TrainingConfig
from kdviz.narrative.products.search import search_sentences
from kdviz.studies.search.finals import best_of_grid, check_new
from kdviz.studies.search.objectives import OBJECTIVES, objectives_of
from kdviz.studies.search.pareto import on_front, winner_of
from kdviz.studies.search.report import read_search_report, report_of
from kdviz.studies.search.space import PARAMETERS, applied, settings_of, space_of
from kdviz.studies.search.table import SEARCH


def test_ranges_are_read_and_one_value_is_kept():
    space = space_of({"temperature": "2:8", "alpha": ".3", "kd_loss": "dist, decoupled"}, TrainingConfig(epochs=7))
    assert space["learning_rate"].text == "0.0003:0.003"  # of 0.001
    assert (space["temperature"].low, space["temperature"].high, space["temperature"].is_fixed) == (2, 8, False)
    assert space["alpha"].fixed == 0.3
    assert space["epochs"].fixed == 7
    assert isinstance(space["epochs"].fixed, int)
    assert space["kd_loss"].choices == ("dist", "decoupled")
    assert space["kd_loss"].holds("dist")
    assert not space["kd_loss"].holds("cosine")
    assert not space["temperature"].holds("1:4")  # a schedule


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "8:2"),
        ("temperature", "0:2"),
        ("temperature", "nan"),
        ("alpha", "0:2"),
        ("epochs", "1.5:3"),
        ("epochs", "0"),
        ("learning_rate", "fast"),
        ("kd_loss", ","),
        ("kd_loss", "no_such_loss"),
        ("width", "1:2:3"),
    ],
)
def test_a_wrong_range_is_one_sentence(name, text):
    with pytest.raises(KdvizError) as error:
        space_of({name: text}, TrainingConfig())
    assert "\n" not in str(error.value)


def test_settings_of_a_recipe_applied_to_it_give_the_same_recipe():
    config = TrainingConfig(temperature=3.0, alpha=0.2, loss="dist", epochs=4, seed=5)
    assert applied(TrainingConfig(), settings_of(config), 5) == config


def test_objectives_begin_with_accuracy():
    assert [each.direction for each in objectives_of(["accuracy", "operations"])] == ["maximize", "minimize"]
    for names in (["operations"], [], ["accuracy", "accuracy"], ["accuracy", "beauty"]):
        with pytest.raises(KdvizError):
            objectives_of(names)


def test_the_front_is_what_nothing_dominates():
    both = [OBJECTIVES["accuracy"], OBJECTIVES["operations"]]
    rows = [{"accuracy": a, "mflop": m} for a, m in [(0.9, 3), (0.8, 1), (0.8, 2), (0.95, 9), (0.9, 3), (0.7, 9)]]
    assert on_front(rows, both) == [True, True, False, True, True, False]
    assert on_front(rows, both[:1]) == [False, False, False, True, False, False]
    assert on_front([], both) == []


def test_the_winner_is_complete_and_on_the_front():
    rows = [trial(0, 0.99, "pruned"), trial(1, 0.9), trial(2, 0.9, front=True)]
    assert winner_of(rows)["trial"] == 2


def test_the_grids_best_is_best_on_average_and_not_by_one_seed():
    rows = [{**SETTINGS, "run": "", "seconds": 1.0, "temperature": t, "seed": s, "accuracy": a}
            for t, s, a in [(1.0, 0, 0.99), (1.0, 1, 0.5), (2.0, 0, 0.9), (2.0, 1, 0.9)]]  # fmt: skip
    best = best_of_grid(rows)
    assert best.settings == {**SETTINGS, "temperature": 2.0}
    assert best.chosen_by == pytest.approx(0.9)


def test_the_test_has_seeds_that_nothing_was_chosen_by():
    check_new([101, 102], [0, 1, 2])
    for seeds in ([0, 101], [101], [101, 101]):
        with pytest.raises(SettingError):
            check_new(seeds, [0, 1, 2])


# sentences against their numbers --------------------------------------------------------------------------------------


def report(winner: int, default: int, grid: int | None = None, **about):
    best = winner_of(trials())
    rows = [*final("winner", winner, best), *final("default", default, SETTINGS)]
    grid_rows = []
    if grid is not None:
        rows += final("grid", grid, {**SETTINGS, "temperature": 8.0})
        grid_rows = [{"seconds": 100.0}] * 54
    return report_of(trials(), {**ABOUT, **about}, grid_rows, rows)


@pytest.mark.parametrize(
    ("winner", "default", "words"),
    [
        (360, 360, "One cannot tell whether the winner is as accurate as the default recipe within 0.5 points"),
        (380, 340, "more accurate than the default recipe, by more than 0.5 points"),
        (340, 380, "less accurate than the default recipe, by more than 0.5 points"),
        (361, 360, "One cannot tell whether the winner is as accurate as the default recipe"),
    ],
)
def test_the_verdict_is_what_the_interval_allows(winner, default, words):
    found = report(winner, default)
    first = search_sentences(found)[0]
    assert words in first
    difference = found.against("default")
    assert difference.value == pytest.approx((winner - default) / SAMPLES)
    assert f"{100 * winner / SAMPLES:.2f}% against {100 * default / SAMPLES:.2f}%" in first


def test_equal_answers_are_equal_only_within_a_margin_that_the_samples_bear_out():
    assert "the winner is as accurate as the default recipe within 2.0" in search_sentences(report(360, 360), 0.02)[0]


def test_the_figure_that_chose_stands_apart_from_the_test():
    text = " ".join(search_sentences(report(356, 352, 350)))
    assert "chosen by a validation accuracy of 90.20%" in text
    assert "with 3 new seeds the same settings have 89.00% of the validation samples, and 89.00% of" in text
    assert "the grid's best" in text
    assert "90 seconds of training, 1.7% of the 5,400 seconds of the grid of 54 runs" in text
    assert "learned from" not in text
    sampled = search_sentences(report(356, 352, training_samples=5000))
    assert "All students learned from 5,000 training samples, for at most 3 epochs." in sampled
    estimated = " ".join(search_sentences(report(356, 352)))
    assert "8.3% of the 1,080 seconds that a grid" in estimated  # 54 runs of 20 seconds


def test_the_winner_is_said_to_be_found_when_its_trial_ended():
    untested = report_of(trials(), ABOUT)
    assert asdict(untested.found) == {"trials": 4, "seconds": 40.0, "share_of_grid": None}
    assert "found after 4 trials and 40 seconds of training; that it is the best" in " ".join(
        search_sentences(untested)
    )
    found = report(356, 352)  # beside a grid of 1,080 seconds, of which all trials fit in a fifth
    assert found.to_json()["found"] == {"trials": 4, "seconds": 40.0, "share_of_grid": pytest.approx(40 / 1080)}
    text = " ".join(search_sentences(found))
    assert "found after 4 trials and 40 seconds of training, 3.7% of the grid's time; that it is the best" in text
    assert "a fifth of the grid" not in text


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (200.0, "The first 4 trials, all that fit in a fifth of the grid's time, would have given the same winner."),
        (199.0, "The first 3 trials, all that fit in a fifth of the grid's time, would have given another winner: "
         "trial 0, with a validation accuracy of 90.00%."),
        (50.0, "The first trial, all that fits in a fifth of the grid's time, would have given another winner"),
    ],
)  # fmt: skip
def test_the_winner_of_a_fifth_of_the_grids_time_is_said(grid, words):
    rows = [*final("winner", 356, winner_of(trials())), *final("default", 352, SETTINGS)]
    found = report_of(trials(), ABOUT, [{"seconds": grid}], rows)
    assert words in " ".join(search_sentences(found))


def test_what_does_not_fit_in_a_fifth_is_not_said():
    rows = [*final("winner", 356, winner_of(trials())), *final("default", 352, SETTINGS)]
    assert "a fifth" not in " ".join(search_sentences(report_of(trials(), ABOUT, [{"seconds": 49.0}], rows)))


def test_the_default_recipe_as_the_winner_is_said_so():
    rows = [*final("winner", 360, winner_of(trials())), *final("default", 360, winner_of(trials()))]
    assert "The winner is the default recipe" in search_sentences(report_of(trials(), ABOUT, (), rows))[0]


def test_a_test_of_a_former_winner_says_nothing_of_the_present_one():
    rows = [*final("winner", 360, trials()[0]), *final("default", 350, SETTINGS)]
    found = report_of(trials(), ABOUT, (), rows)
    assert found.candidates is None
    assert "was not tested yet" in search_sentences(found)[0]


def test_a_damaged_table_is_refused(tiny):
    SEARCH.write(tiny, trials(), ABOUT)
    assert read_search_report(tiny).count("pruned") == 1
    broken = tiny.table("search").drop_columns(["state"])
    tiny.write_table("search", broken)
    with pytest.raises(ExperimentError, match="search again"):
        read_search_report(tiny)


def test_a_table_of_before_the_objective_latency_is_read(tiny):
    SEARCH.write(tiny, trials(), ABOUT)
    tiny.write_table("search", tiny.table("search").drop_columns(["latency"]))
    assert {row["latency"] for row in read_search_report(tiny).trials} == {None}


def test_every_parameter_has_an_option():
    from kdviz.cli import _parser

    verbs = next(action.choices for action in _parser()._actions if action.dest == "verb")
    assert {each.option for each in PARAMETERS.values()} <= set(verbs["tune"]._option_string_actions)
    assert search_rows.SETTINGS.keys() == PARAMETERS.keys()


def test_only_several_objectives_have_a_front_in_words():
    rows = [trial(number, 0.9, mflop=float(number), front=number == 0) for number in range(3)]
    two = report_of(rows, {"objectives": ["accuracy", "operations"]})
    sentences = " ".join(search_sentences(two))
    assert "1 trial is on the Pareto front" in sentences
    assert "Only accuracy was tested with new seeds" in sentences
    assert "No trial was stopped early: with several objectives" in sentences
    assert "Times are of this machine" not in sentences
    timed = report_of([{**row, "latency": 0.5} for row in rows], {"objectives": ["accuracy", "latency"]})
    assert "Times are of this machine" in " ".join(search_sentences(timed))
    assert "Pareto" not in " ".join(search_sentences(report_of(rows, ABOUT)))
