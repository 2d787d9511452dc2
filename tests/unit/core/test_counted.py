"""Plural forms, and the name of what a training's bar shows."""

import re
from pathlib import Path

import pytest

from kdviz.cli.common.progress import _cost_sentence, measured_text
from kdviz.core.texts.counted import counted, duration
from kdviz.distill.training import TrainingProgress
from kdviz.studies.sweep.runner import Cost

PACKAGE = Path(__file__).resolve().parents[3] / "kdviz"


RUNS = [(0, "0 runs"), (1, "1 run"), (0.9, "1 run"), (2, "2 runs"), (1.4, "1 run"), (12345, "12,345 runs")]


@pytest.mark.parametrize(("count", "text"), RUNS)
def test_a_count_has_its_noun(count, text):
    assert counted(count, "run") == text


SECONDS = {0: "less than a second", 0.6: "1 second", 1.4: "1 second", 60: "60 seconds", 119.4: "119 seconds"}
HOURS = {120: "2 minutes", 7199: "120 minutes", 7200: "2 hours"}


@pytest.mark.parametrize(("seconds", "text"), [*SECONDS.items(), *HOURS.items()])
def test_a_duration_has_its_unit(seconds, text):
    assert duration(seconds) == text


def test_the_estimate_of_a_sweep():
    assert _cost_sentence(Cost(1, 1, 1.2)) == "kdviz: 1 run, 1 epoch: about 1 second on this machine"
    assert _cost_sentence(Cost(12, 240, 600)) == "kdviz: 12 runs, 240 epochs: about 10 minutes on this machine"


def test_agreement_with_a_teacher_is_not_called_validation():
    progress = TrainingProgress(1, 2, 3, 3, 0.5, 0.9)
    assert measured_text(progress) == "validation 90.00%"
    on_transfer_set = TrainingProgress(1, 2, 3, 3, 0.5, 0.9, labelled_by_teacher=True)
    assert measured_text(on_transfer_set) == "agreement with the teacher 90.00%"


NOUNS = ("second", "minute", "hour", "image", "picture", "sample", "run", "epoch", "class", "seed", "model", "mask")
PRINTED = re.compile(rf"f\"[^\"]*\{{[^{{}}]*\}} ({'|'.join(f'{noun}e?s' for noun in NOUNS)})\b")


def test_no_sentence_of_a_command_has_a_plural_of_its_own():
    found = [
        f"{path.name}: {match[0]}"
        for folder in ("cli", "distill")
        for path in (PACKAGE / folder).rglob("*.py")
        for match in PRINTED.finditer(path.read_text(encoding="utf-8"))
        if "_STUDY_MINUTES" not in match[0]  # a constant
    ]
    assert not found, found
