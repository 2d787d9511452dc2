"""New classes without forgetting, and clients that share answers: on a few small digits."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from second_implementation import assert_same_value_and_gradient
from sweeps import CONFIG, small_splits

from kdviz.cli.studies import federated
from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.core.files import Store
from kdviz.distill import teacher_losses
from kdviz.distill.storage.run_files import read_array
from kdviz.metrics import paired_difference
from kdviz.narrative.other_data.federated import federated_sentences
from kdviz.narrative.other_data.incremental import incremental_sentences
from kdviz.studies.federated import FederatedStudy, class_shares, read_federated_report
from kdviz.studies.federated.study import SCHEMA as FEDERATED
from kdviz.studies.incremental import IncrementalStudy, read_incremental_report
from kdviz.studies.incremental.study import SCHEMA

QUICK = replace(CONFIG, epochs=4, learning_rate=5e-3)


@pytest.fixture(scope="module")
def splits(small_digits):
    return small_splits(small_digits, {"train": 400, "validation": 100, "test": 200})


# incremental ----------------------------------------------------------------------------------------------------------


def test_answers_about_old_classes_are_kept_and_others_are_free():
    random = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, 6, generator=random, dtype=torch.float64) for _ in range(2))

    def second(logits):
        total = 0.0
        for row, own in zip(logits, teacher.numpy(), strict=True):
            p, q = (np.exp(values[:4] / 2) / np.exp(values[:4] / 2).sum() for values in (row, own))
            total += sum(q[k] * np.log(q[k] / p[k]) for k in range(4))
        return 4 * total / 5

    loss = teacher_losses["without_forgetting"]
    assert_same_value_and_gradient(lambda logits: loss(logits, teacher, None, 2.0, {"old": 4.0}), second, student)

    def with_new(logits):
        total = 0.0
        for row, own in zip(logits, teacher.numpy(), strict=True):
            p, q = (np.exp(values[4:] / 2) / np.exp(values[4:] / 2).sum() for values in (row, own))
            total += 3 * sum(q[k] * np.log(q[k] / p[k]) for k in range(2))
        return second(logits) + 4 * total / 5

    options = {"old": 4.0, "new": 3.0}
    assert_same_value_and_gradient(lambda logits: loss(logits, teacher, None, 2.0, options), with_new, student)
    for old in (1.0, 7.0, 2.5):
        with pytest.raises(SettingError, match="old must be"):
            loss(student, teacher, None, 2.0, {"old": old})


@pytest.mark.slow
def test_a_network_that_learns_new_classes_forgets_less_with_its_own_answers(splits, tiny):
    stages = list(IncrementalStudy(tiny, splits, 5, [0], replace(QUICK, epochs=8)).run())
    report = read_incremental_report(tiny)
    by_method = {row.method: row for row in report.accuracies}
    assert by_method["old"].all.value < 0.6  # it has never seen the new ones
    assert by_method["old"].old.value > 0.6
    assert by_method["fine_tuned"].new.value > 0.4
    kept = by_method["without_forgetting"].old.value - by_method["fine_tuned"].old.value
    assert kept > 0
    assert report.old.value == pytest.approx(kept)
    assert {stage.number for stage in stages} == set(range(1, 5))
    with pytest.raises(SettingError, match="2 to 9 of 10"):
        IncrementalStudy(tiny, splits, 10, [0], QUICK)


@pytest.mark.slow
def test_new_classes_are_learned_from_a_teacher_who_saw_no_others(splits, tiny):
    """With alpha 1 there are no labels: what the student knows of the new classes comes from that teacher."""
    config = replace(QUICK, epochs=8, alpha=1.0)
    stages = list(IncrementalStudy(tiny, splits, 5, [0], config, "paper_fc").run())
    report = read_incremental_report(tiny)
    by_method = {row.method: row for row in report.accuracies}
    assert by_method["new_teacher"].new.value > 0.4 > by_method["without_forgetting"].new.value
    assert report.taught.value == pytest.approx(
        by_method["new_teacher"].new.value - by_method["without_forgetting"].new.value
    )
    assert len(incremental_sentences(report)) == 4
    assert {stage.number for stage in stages} == set(range(1, 7))
    with pytest.raises(SettingError, match="needs two of them"):
        IncrementalStudy(tiny, splits, 9, [0], QUICK, "paper_fc")
    with pytest.raises(UnknownNameError, match="papr_fc"):
        IncrementalStudy(tiny, splits, 5, [0], QUICK, "papr_fc")
    with pytest.raises(UnknownNameError):
        IncrementalStudy(tiny, splits, 5, [0], QUICK, "")  # a variable that was not set is no wish for no teacher


@pytest.mark.parametrize(("seeds", "expected"), [(3, "knows these better"), (1, "cannot be told")])
def test_sentences_of_forgetting_say_what_the_intervals_allow(tiny, seeds, expected):
    labels = np.arange(200) % 10
    rng, rows = np.random.default_rng(0), []
    for method, old, new in (
        ("old", 0.9, 0),
        ("fine_tuned", 0.1, 0.9),
        ("without_forgetting", 0.7, 0.9),
        ("joint", 0.95, 0.95),
    ):
        for seed in range(seeds):
            right = rng.random(200) < np.where(labels < 5, old, new)
            said = np.where(right, labels, 11).tolist()
            rows.append({"seed": seed, "method": method, "old_classes": 5, "predicted": said, "told": said})
    truth = labels.tolist()
    rows.append({"seed": 0, "method": "label", "old_classes": 5, "predicted": truth, "told": truth})
    tiny.write_table("incremental", pa.Table.from_pylist(rows, SCHEMA))
    first, second, _ = incremental_sentences(read_incremental_report(tiny))
    assert expected in first
    assert "cannot be told" in second


# federated ------------------------------------------------------------------------------------------------------------


def test_class_shares_use_each_sample_once_and_are_as_unequal_as_asked():
    labels = np.arange(2000) % 10
    spread = {}
    for concentration in (0.2, 100.0):
        parts = class_shares(labels, 4, concentration, 0)
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(2000))
        assert min(map(len, parts)) >= 10
        shares = np.array([np.bincount(labels[part], minlength=10) / 200 for part in parts])
        spread[concentration] = float(shares.std())
    assert spread[100.0] < 0.05 < spread[0.2]
    with pytest.raises(SettingError, match="at least 2 clients"):
        class_shares(labels, 1, 1.0, 0)


@pytest.mark.slow
def test_clients_that_share_answers(splits, tiny, tmp_path, monkeypatch, capsys):
    study = FederatedStudy(tiny, splits, 2, 0.3, 1, 100, 0, [0], QUICK, tmp_path)
    list(study.run(threads=1))
    report = read_federated_report(tiny)
    assert report.gain.value == pytest.approx(report.fedmd - report.alone)
    assert all("cannot be told" in sentence for sentence in federated_sentences(report))  # with one seed
    federated._print(tiny, report, as_json=True)
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # which has no error over seeds
    assert document["gain"]["seed_error"] is None
    assert report.central > report.alone
    rows = tiny.table("federated").to_pylist()
    private = [row["private"] for row in rows if row["method"] == "fedmd"]
    assert sum(private) == 300 == next(row["private"] for row in rows if row["method"] == "central")
    assert len(federated_sentences(report)) == 2
    store, folder = Store(tmp_path), f"federated/{study._identity(0)}"
    shared = [read_array(store, f"{folder}/client-{client:02d}-round-00.npy").numpy() for client in range(2)]
    consensus = read_array(store, f"{folder}/consensus-00.npy").numpy()
    assert consensus == pytest.approx(sum(shared) / 2, abs=1e-6)
    monkeypatch.setattr("kdviz.studies.federated.study.fit", None)  # nothing is trained again, and nothing changes
    list(FederatedStudy(tiny, splits, 2, 0.3, 1, 100, 0, [0], QUICK, tmp_path).run(threads=1))
    assert tiny.table("federated").to_pylist() == rows


def test_seeds_are_what_is_drawn_as_the_clients_of_one_learn_from_each_other(tiny):
    """Held against means that are taken otherwise; four clients alike must not look like four times the evidence."""
    generator = np.random.default_rng(0)
    labels = generator.integers(10, size=400)
    rows = [("label", 0, -1, labels)]
    rights: dict[str, list[np.ndarray]] = {}
    for seed in range(3):
        for method, share, clients in (("fedmd", 0.75, range(4)), ("alone", 0.45, range(4)), ("central", 0.95, [4])):
            right = generator.random(400) < share + 0.02 * seed
            rights.setdefault(method, []).append(right)
            rows += [(method, seed, client, np.where(right, labels, (labels + 1) % 10)) for client in clients]
    common = {"clients": 4, "concentration": 0.3, "rounds": 1, "public": 100, "private": 50, "split": "test"}
    entries = [
        {"method": method, "seed": seed, "client": client, "predicted": predicted.tolist(), **common}
        for method, seed, client, predicted in rows
    ]
    tiny.write_table("federated", pa.Table.from_pylist(entries, FEDERATED))
    report = read_federated_report(tiny)
    fedmd, alone = (np.array(rights[method], float) for method in ("fedmd", "alone"))
    expected = paired_difference(alone, fedmd)
    assert (report.gain.low, report.gain.high) == pytest.approx((expected.low, expected.high))
    assert report.gain.seeds == 3
    gains, shorts = federated_sentences(report)
    assert gains.startswith("Clients that share answers about 100 public pictures are more accurate than alone")
    assert shorts.startswith("They are less accurate than one model")


def test_no_label_of_a_public_picture_is_used(splits, tiny, tmp_path):
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))[:100]
    labels = splits["train"].labels.clone()
    labels[order] = (labels[order] + 1) % 10
    other = {**splits, "train": replace(splits["train"], labels=labels)}
    tables = []
    for number, each in enumerate((splits, other)):
        list(
            FederatedStudy(tiny, each, 2, 1.0, 1, 100, 200, [0], replace(QUICK, epochs=1), tmp_path / str(number)).run()
        )
        tables.append(tiny.table("federated").to_pylist())
    assert tables[0] == tables[1]


@pytest.mark.parametrize("seeds", [[], [0, 0]])
def test_no_seed_or_one_twice_is_refused_and_no_table_lost(splits, tiny, tmp_path, seeds):
    tiny.write_table("incremental", pa.table({"kept": [1]}))
    for make in (
        lambda: IncrementalStudy(tiny, splits, 5, seeds, QUICK),
        lambda: FederatedStudy(tiny, splits, 2, 1.0, 1, 100, 200, seeds, QUICK, tmp_path),
    ):
        with pytest.raises(SettingError, match="at least one seed, and each once"):
            make()
    assert tiny.table("incremental").to_pydict() == {"kept": [1]}


def test_what_federated_clients_cannot_have_is_said_with_its_option(splits, tiny, tmp_path):
    with pytest.raises(SettingError, match=r"400 for training.*got 2000\. Set --public"):
        FederatedStudy(tiny, splits, 2, 1.0, 1, 2000, 200, [0], QUICK, tmp_path)
    with pytest.raises(SettingError, match=r"a concentration from 0\.001 to 1e\+06"):
        class_shares(np.arange(2000) % 10, 4, 1e308, 0)


def test_seeds_on_a_command_line_stay_once():
    from kdviz.cli.common.arguments import seeds

    assert seeds("2,0,2") == [2, 0]
