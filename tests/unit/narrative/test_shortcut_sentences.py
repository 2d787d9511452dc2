"""What is said of a planted shortcut, held against the intervals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdviz.core.language import speaking
from kdviz.data.shortcuts.planting import ShownTo
from kdviz.narrative.shortcuts.sentences import (
    condition_sentence,
    condition_sentences,
    map_sentences,
    shortcut_sentences,
    use_sentences,
)
from kdviz.narrative.shortcuts.verdicts import outcome, verdict_sentences
from kdviz.studies.regions.report import Mean
from kdviz.studies.shortcuts.report import LossDifference, Rise, RoleMaps, RoleUse, ShortcutsReport, UseDifference
from kdviz.studies.shortcuts.table import Condition

USED, UNUSED, OPEN = (0.7, 0.6, 0.8), (0.001, -0.01, 0.02), (0.1, -0.1, 0.3)
FOUND, IN_PART, CHANCE, UNSURE = (0.99, 0.96, 1.0), (0.8, 0.7, 0.9), (0.5, 0.4, 0.6), (0.95, 0.91, 0.99)


def mean(value, low, high):
    return Mean(value, low, high, 100)


def role(name, use):
    return RoleUse(name, *(mean(0.9, 0.85, 0.95),) * 3, mean(0.5, 0.4, 0.6), mean(*use), mean(*use))


def maps(name, auroc):
    auroc_mean = mean(*auroc)
    share = mean(0.4, 0.35, 0.45)
    return RoleMaps(name, "rise", share, share, share, 0.02, auroc_mean, auroc_mean)


def report(shown_to="random", difference=USED, teacher=USED, aurocs=(FOUND, FOUND, CHANCE), rise=(0.5, 0.4, 0.6)):
    uses = {"teacher": teacher, "kd_student": USED, "student": UNUSED}
    return ShortcutsReport(
        Condition("patch", shown_to),
        {"share": 0.9},
        tuple(role(name, use) for name, use in uses.items()),
        tuple(maps(name, auroc) for name, auroc in zip(uses, aurocs, strict=True)),
        (UseDifference("student", mean(*difference), mean(*difference)),),
        (Rise("rise", mean(*rise)),),
        {},
    )


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.2, 0.1, 0.3), "uses"),
        ((0.06, 0.01, 0.11), "uses"),
        ((0.02, 0.01, 0.03), "does not"),
        ((0.0, -0.05, 0.05), "does not"),
        ((0.0, -0.06, 0.05), "cannot tell"),
        ((0.04, -0.01, 0.09), "cannot tell"),
        ((-0.2, -0.3, -0.1), "shuns"),
        ((float("nan"),) * 3, "cannot tell"),
    ],
)
def test_an_interval_allows_one_outcome(interval, expected):
    assert outcome(mean(*interval)) == expected


@pytest.mark.parametrize("shown_to", ["random", "teacher"])
@pytest.mark.parametrize(
    ("difference", "begins"),
    [
        (USED, "The KD student inherits its teacher's shortcut:"),
        (UNUSED, "The KD student does not inherit its teacher's shortcut:"),
        (OPEN, "One cannot tell whether the KD student inherits"),
        ((-0.3, -0.4, -0.2), "The KD student uses its teacher's shortcut less"),
    ],
)
def test_inheritance(shown_to, difference, begins):
    (sentence,) = verdict_sentences(report(shown_to, difference))
    assert sentence.startswith(begins)
    assert f"{100 * difference[0]:+.1f} points" in sentence


@pytest.mark.parametrize(
    ("difference", "begins"),
    [
        (USED, "Its teacher makes the KD student use the shortcut more"),
        (UNUSED, "Its teacher changes nothing"),
        (OPEN, "One cannot tell whether its teacher changes"),
        ((-0.3, -0.4, -0.2), "Its teacher makes the KD student use the shortcut less"),
    ],
)
def test_where_the_students_saw_it_themselves_nothing_is_called_inherited(difference, begins):
    (sentence,) = verdict_sentences(report("all", difference))
    assert sentence.startswith(begins)
    assert "inherit" not in sentence


def test_nothing_is_inherited_from_a_teacher_without_it_or_where_none_was_planted():
    assert verdict_sentences(report(teacher=UNUSED)) == [
        "There is nothing to inherit: the teacher does not use the mark."
    ]
    assert verdict_sentences(report("none")) == []
    assert condition_sentence(report("none")).startswith("No model saw a patch in training")


def test_each_condition_has_its_sentence():
    sentences = {condition_sentence(report(shown_to)) for shown_to in (*ShownTo, "none")}
    assert len(sentences) == 5
    assert "90%" in condition_sentence(report("random"))


@pytest.mark.parametrize(
    ("difference", "begins"),
    [
        (USED, "Although its teacher does not use the mark, the KD student uses it more"),
        (UNUSED, "Its teacher does not use the mark, and yet the KD student uses it as much as"),
        (OPEN, "One cannot tell whether with its teacher, which does not use the mark, the KD"),
        ((-0.3, -0.4, -0.2), "With its teacher, which does not use the mark, the KD student uses it less than"),
    ],
)
def test_whether_a_teacher_that_never_saw_it_keeps_the_student_from_it(difference, begins):
    (sentence,) = verdict_sentences(report("students", difference, teacher=UNUSED))
    assert sentence.startswith(begins)
    (sentence,) = verdict_sentences(report("students", difference, teacher=USED))  # by chance, or another training
    assert "does not use" not in sentence


@pytest.mark.parametrize(
    ("difference", "begins"),
    [
        (USED, "With soft_targets + hints the KD student uses the mark more than"),
        (UNUSED, "With soft_targets + hints the KD student uses the mark as much as"),
        (OPEN, "One cannot tell whether with soft_targets + hints"),
        ((-0.3, -0.4, -0.2), "With soft_targets + hints the KD student uses the mark less than"),
    ],
)
def test_what_another_loss_changes(difference, begins):
    other = replace(
        report("students"),
        condition=Condition("patch", "students", "soft_targets + hints"),
        beside_soft_targets=LossDifference(mean(*difference), {"rise": mean(0.1, -0.1, 0.3)}),
    )
    _, sentence = verdict_sentences(other)
    assert sentence.startswith(begins)
    assert condition_sentences(other)[1] == "The KD student was distilled with soft_targets + hints."
    assert len(condition_sentences(report())) == len(verdict_sentences(report())) == 1


@pytest.mark.parametrize(
    ("difference", "begins"),
    [
        (USED, "Its maps (RISE) hide that: the share"),
        (UNUSED, "Its maps (RISE) say otherwise"),
        (OPEN, "That its maps (RISE) show the mark less does not show that it uses it less"),
        ((-0.3, -0.4, -0.2), ""),
    ],
)
def test_maps_that_show_the_mark_less_while_its_use_is_not_less_are_named(difference, begins):
    """A loss on maps teaches maps; whether it teaches what they stand for is another question."""
    change = LossDifference(mean(*difference), {"rise": mean(-0.1, -0.2, -0.05)})
    other = replace(report("students"), condition=Condition("patch", "students", "hints"), beside_soft_targets=change)
    further = verdict_sentences(other)[2:]
    assert [sentence[: len(begins)] for sentence in further] == ([begins] if begins else [])


def test_who_uses_it():
    teacher, kd, alone = use_sentences(report(teacher=OPEN))
    assert teacher.startswith("One cannot tell whether the mark is used by the teacher")
    assert kd.startswith("Uses the mark: the KD student.")
    assert alone.startswith("Does not use the mark: the student alone.")


@pytest.mark.parametrize(
    ("auroc", "says"),
    [
        (FOUND, "The maps of the teacher (RISE) show it: 40.0%"),
        (IN_PART, "The maps of the teacher (RISE) show it only in part"),
        (CHANCE, "The maps of the teacher (RISE) do not show what it uses"),
        (UNSURE, "One cannot tell whether the maps of the teacher (RISE) show it"),
    ],
)
def test_whether_maps_of_a_model_that_uses_it_show_it(auroc, says):
    assert map_sentences(report(aurocs=(auroc, FOUND, CHANCE)))[0].startswith(says)


def test_maps_of_a_model_that_does_not_use_it():
    assert "know nothing of it" in map_sentences(report())[2]
    below = (0.3, 0.2, 0.4)
    assert "do not show it: less of them lies inside" in map_sentences(report(aurocs=(FOUND, FOUND, below)))[2]
    assert "react to the mark although" in map_sentences(report(aurocs=(FOUND, FOUND, IN_PART)))[2]
    assert len(map_sentences(report(teacher=OPEN))) == 3  # nothing is said of maps where use is open


@pytest.mark.parametrize(
    ("rise", "begins"),
    [
        ((0.5, 0.4, 0.6), "The more the mark is used, the more of a map"),
        ((-0.5, -0.6, -0.4), "The more the mark is used, the less of a map"),
        ((0.1, -0.1, 0.3), "One cannot tell whether more of a map"),
    ],
)
def test_whether_maps_follow_the_use(rise, begins):
    assert map_sentences(report(rise=rise))[-1].startswith(begins)


def test_everything_is_said_and_in_any_language():
    sentences = shortcut_sentences(report())
    assert len(sentences) == 1 + 1 + 3 + 4 + 1
    with speaking("zh_CN"):
        assert len(shortcut_sentences(report())) == len(sentences)
