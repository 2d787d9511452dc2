"""The bench of an evaluation: real files and networks of 1,000 classes, predicted once each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from kdviz.bench.studies import evaluation
from kdviz.bench.studies.evaluation import bench_evaluate, evaluate_all, experiment_of, memory_of, write_photographs


def test_photographs_are_of_the_size_that_is_said_and_differ(tmp_path):
    write_photographs(tmp_path / "data", 5, seed=0)
    files = sorted((tmp_path / "data").iterdir())
    assert [Image.open(file).size for file in files] == [(500, 375)] * 5
    assert len({file.read_bytes() for file in files}) == 5


@pytest.mark.slow
def test_each_picture_is_predicted_by_each_model(tmp_path):
    write_photographs(tmp_path / "data", 3, seed=0)
    experiment = experiment_of({"teacher": "mobilenet_v2", "student": "mobilenet_v2"}, tmp_path / "two", seed=0)
    evaluate_all(experiment, tmp_path / "data", torch.device("cpu"))
    table = experiment.table("predictions")
    assert table.num_rows == 6
    assert table["logits"].type.list_size == 1000


@pytest.mark.slow
def test_models_that_share_a_network_are_counted_each(tmp_path, monkeypatch):
    for count in (1, 4):
        write_photographs(tmp_path / str(count), count, seed=0)
    experiment = experiment_of({"teacher": "mobilenet_v2", "student": "mobilenet_v2"}, tmp_path / "two", seed=0)
    monkeypatch.setattr(evaluation, "best_batches", lambda *_: [2, 4])
    evaluated = []
    monkeypatch.setattr(evaluation, "evaluate_all", lambda _e, data, _d, fast: evaluated.append((data.name, fast)))

    def seconds(works, _tries, _device):
        for work in works[:4]:
            work()
        return [1.0, 4.0, 0.5, 2.0, 0.75, 0.25]

    monkeypatch.setattr(evaluation, "seconds_in_turn", seconds)
    found = evaluation._seconds(experiment, tmp_path, torch.device("cpu"), 4, 1, 0)
    assert found == ((1.0, 4.0), (0.5, 2.0), 2 * 0.25)
    assert evaluated == [("1", False), ("4", False), ("1", True), ("4", True)]


@pytest.mark.slow
def test_rows(monkeypatch):
    # 24 and 96 pictures: 1 s, and 1/48 s a picture; fast copies: 0.1 s, and 1/60 s a picture
    monkeypatch.setattr(evaluation, "_seconds", lambda *_: ((1.5, 3.0), (0.5, 1.7), 1.6))
    monkeypatch.setattr(evaluation, "write_photographs", lambda *_: None)
    monkeypatch.setattr(evaluation, "experiment_of", lambda *_: None)
    programs = []

    def run(command, **_options):
        programs.append(command[2])
        return type("Done", (), {"stdout": "500" if len(programs) == 1 else "512"})

    monkeypatch.setattr(evaluation.subprocess, "run", run)
    rows = {row.key: row.value for row in bench_evaluate(torch.device("cpu"), quick=True)}
    times = {
        "evaluate_overhead": 3 / 1.6,
        "evaluate_picture_overhead": 1.25,
        "evaluate_fixed": 1.0,
        "evaluate_fast_overhead": 1.7 / 1.6,
        "evaluate_fast_picture_overhead": 1.0,
        "evaluate_fast_fixed": 0.1,
    }
    assert {key: value for key, value in rows.items() if key in times} == pytest.approx(times)
    if Path("/proc/self/status").exists():
        assert {key: value for key, value in rows.items() if key not in times} == {
            "evaluate_memory_ratio": 512 / 500,
            "evaluate_memory": 0.5,
        }
        compile(programs[0], "program", "exec")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_is_that_of_this_process(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "_SMALL", {"student": "mobilenet_v2"})
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path), "2", "0"])
    assert memory_of(tmp_path / "direct", 2, 0) > 100
    exec(evaluation._MEMORY_PROGRAM)  # as the process runs it, which prints the figure
