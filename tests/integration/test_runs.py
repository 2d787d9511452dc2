"""Trainings with an identity: what it depends on, and what is left after a kill, a full disk or a damaged file."""

from __future__ import annotations

import io
import json
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from conftest import SMALL
from sweeps import CONFIG, a_run, count_trainings, done, small_splits

from kdviz.core.errors import KdvizError
from kdviz.core.files import Store
from kdviz.distill import TrainingConfig, fit, predict_logits
from kdviz.distill.runs import execute_run
from kdviz.distill.storage.run_files import new_network, read_array, read_result, read_weights, write_array
from kdviz.distill.storage.training_run import data_fingerprint, teacher_key

TEACHER = "0123456789abcdef/logits-train.npy"


@pytest.fixture(scope="module")
def splits(small_digits):
    return small_splits(small_digits)


@pytest.fixture
def trainings(monkeypatch):
    return count_trainings(monkeypatch)


def answers(splits) -> torch.Tensor:
    """A teacher's, to the training samples: mostly right, and not sure."""
    noise = torch.randn(len(splits["train"]), 10, generator=torch.Generator().manual_seed(1))
    return noise + 4 * torch.eye(10)[splits["train"].labels]


@pytest.fixture(scope="module")
def soft(splits):
    return answers(splits)


def with_teacher(folder, soft) -> str:
    write_array(Store(folder), TEACHER, soft)
    return str(folder)


def files(folder, identity: str = "") -> dict[str, bytes]:
    """Everything a run left behind."""
    run_folder = Path(folder) / identity
    return {
        path.relative_to(run_folder).as_posix(): path.read_bytes() for path in run_folder.rglob("*") if path.is_file()
    }


def curves(folder, run) -> list[dict]:
    result = read_result(Store(folder), run.identity)
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in result["curves"]]


def assert_same_result(run, first, second) -> None:
    """Bit for bit: weights and answers; the curves too, but for their seconds."""
    files_of_first, files_of_second = (files(folder, run.identity) for folder in (first, second))
    del files_of_first["result.json"], files_of_second["result.json"]
    assert files_of_first.keys() == files_of_second.keys()
    assert all(files_of_first[name] == files_of_second[name] for name in files_of_first)
    assert curves(first, run) == curves(second, run)


# identity -------------------------------------------------------------------------------------------------------------


def test_the_identity_is_the_same_tomorrow():
    # Files on disk and rows in tables are found by it: a change makes every study begin anew.
    assert a_run(TrainingConfig()).identity == PINNED["alone"]
    assert a_run(TrainingConfig(), teacher=TEACHER).identity == PINNED["taught"]


PINNED = {"alone": "fa537f4787d78850", "taught": "5686d6992762e08f"}

OTHER_SPECS = [
    replace(SMALL, size=(14, 15)),
    replace(SMALL, channels=3, mean=(0.2,) * 3, std=(0.5,) * 3),
    replace(SMALL, mean=(0.25,)),
    replace(SMALL, std=(0.25,)),
]


@pytest.mark.parametrize(
    "changed",
    [
        {"epochs": 3},
        {"batch_size": 51},
        {"learning_rate": 2e-3},
        {"seed": 1},
        {"label_smoothing": 0.1},
        {"class_weights": "balanced"},
        {"bf16": "on"},
        {"augment": "crop"},
        {"augment": "crop", "views": 2},
        {"trainable": "head"},
    ],
    ids=str,
)
def test_every_setting_of_the_training_counts(changed):
    for teacher in ("", TEACHER):
        run = a_run(teacher=teacher)
        assert replace(run, config=replace(CONFIG, **changed)).identity != run.identity


TAUGHT = [
    {"temperature": 2.0},
    {"temperature": "4:1"},
    {"alpha": 0.9},
    {"alpha": "1=.5,2=.1"},
    {"loss": "dist"},
    {"kd_epochs": 1},
    {"teacher_mixture": (2.0,)},
    {"loss": "decoupled", "loss_options": {"other_weight": 3.5}},
    {"feature_loss": "hints"},
]


@pytest.mark.parametrize("changed", TAUGHT, ids=str)
def test_settings_of_distillation_count_with_a_teacher_only(changed):
    config = replace(CONFIG, **changed)
    assert a_run(config).identity == a_run().identity
    assert a_run(config, teacher=TEACHER).identity != a_run(teacher=TEACHER).identity


def test_all_that_differs_has_another_identity():
    taught = [a_run(replace(CONFIG, **changed), teacher=TEACHER) for changed in TAUGHT]
    others = [
        a_run(),
        a_run(network="paper_cnn"),
        a_run(data="other data"),
        a_run(teacher=TEACHER),
        a_run(teacher=teacher_key("0123456789abcdef", 3)),
        a_run(teacher=teacher_key("0123456789abcdee")),
        a_run(snapshots=(1, 2)),
        a_run(teacher=TEACHER, snapshots=(1, 2)),
        *(replace(a_run(), spec=spec) for spec in OTHER_SPECS),
    ]
    assert len({run.identity for run in taught + others}) == len(taught + others)


@pytest.mark.parametrize("teacher", ["", TEACHER])
def test_nothing_else_counts(teacher):
    run = a_run(teacher=teacher)
    same = [
        replace(CONFIG, device="cuda:3"),
        replace(CONFIG, temperature=4),  # 4 and 4.0 are one temperature
        replace(CONFIG, loss_options=MappingProxyType({})),
    ]
    assert {replace(run, config=config).identity for config in same} == {run.identity}
    assert replace(run, role="somebody").identity == run.identity


def test_an_option_at_the_default_of_its_loss_does_not_count():
    runs = [
        a_run(replace(CONFIG, loss="decoupled", loss_options=options), teacher=TEACHER)
        for options in ({}, {"other_weight": 8.0}, {"other_weight": 8}, {"other_weight": 4.0}, {"other_weight": 4})
    ]
    assert [runs[0].identity == run.identity for run in runs] == [True, True, True, False, False]
    assert runs[3].identity == runs[4].identity


def test_the_identity_of_data_is_its_content(small_digits, splits):
    def copy(samples, **changed):
        return replace(samples, images=samples.images.clone(), labels=samples.labels.clone(), **changed)

    fingerprint = data_fingerprint(splits)
    again = {name: copy(splits[name], names=None, notes=("read from elsewhere",)) for name in reversed(splits)}
    assert data_fingerprint(again) == fingerprint
    for name in splits:
        for what in ("images", "labels"):
            changed = {**splits, name: copy(splits[name])}
            values = getattr(changed[name], what)
            values[-1] = (values[-1] + 1) % 10
            assert data_fingerprint(changed) != fingerprint
    swapped = {**splits, "validation": splits["test"], "test": splits["validation"]}
    assert data_fingerprint(swapped) != fingerprint


# what a run leaves ----------------------------------------------------------------------------------------------------


def test_a_run_leaves_the_best_weights_and_what_they_say(splits, soft, tmp_path):
    run = a_run(replace(CONFIG, epochs=4, learning_rate=0.02), teacher=TEACHER)
    steps = done(run, splits, with_teacher(tmp_path, soft))
    assert set(files(tmp_path, run.identity)) == {
        "weights.safetensors",
        "logits-validation.npy",
        "logits-test.npy",
        "result.json",
    }
    network = new_network("paper_fc", SMALL, 10, 0)
    parts = splits["train"], splits["validation"]
    ends = [step for step in fit(network, *parts, SMALL.normalise, run.config, soft) if step.ends_epoch]
    stored = read_weights(Store(tmp_path), run, 10)
    assert not any(parameter.requires_grad for parameter in stored.parameters())
    assert not stored.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(stored.state_dict()[name], value, rtol=0, atol=0)
    for name in ("validation", "test"):
        logits = read_array(Store(tmp_path), f"{run.identity}/logits-{name}.npy")
        assert logits.dtype == torch.float32
        assert torch.equal(logits, predict_logits(network, splits[name], SMALL.normalise, device="cpu"))
    result = json.loads(files(tmp_path, run.identity)["result.json"])
    assert [epoch["epoch"] for epoch in result["curves"]] == [1, 2, 3, 4]
    assert [epoch["validation_accuracy"] for epoch in result["curves"]] == [end.validation_accuracy for end in ends]
    assert [epoch["train_loss"] for epoch in result["curves"]] == [end.loss for end in ends]
    assert {(epoch["temperature"], epoch["alpha"]) for epoch in result["curves"]} == {(4.0, 0.5)}
    assert len(steps) == 4 * (4 + 1)  # 200 samples in batches of 50, and the end of the epoch


def test_a_finished_run_yields_nothing_and_trains_nothing(splits, tmp_path, trainings):
    run = a_run()
    assert done(run, splits, tmp_path)
    before = files(tmp_path)
    trainings.clear()
    assert done(run, splits, tmp_path) == []
    assert (trainings.started, files(tmp_path)) == ([], before)


def test_a_run_trains_on_the_device_it_is_told(splits, tmp_path, monkeypatch):
    asked = []

    def fit_somewhere(*args, **options):
        asked.append(args[4].device)
        return fit(*args, **options)

    monkeypatch.setattr("kdviz.distill.runs.fit", fit_somewhere)
    done(a_run(replace(CONFIG, device="meta")), splits, tmp_path)  # whoever planned it had another
    assert asked == ["cpu"]


def test_a_teacher_that_is_not_there(splits, tmp_path):
    with pytest.raises(KdvizError, match="all machines must see the same folder"):
        done(a_run(teacher=TEACHER), splits, tmp_path)
    (tmp_path / TEACHER).parent.mkdir()
    (tmp_path / TEACHER).write_bytes(b"\x93NUMPY")
    with pytest.raises(KdvizError, match="was damaged and is set aside"):
        done(a_run(teacher=TEACHER), splits, tmp_path)


def test_no_array_is_unpickled(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    Store(tmp_path).write("a.npy", buffer.getvalue())
    with pytest.raises(KdvizError, match="damaged"):
        read_array(Store(tmp_path), "a.npy")


# snapshots ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_snapshot_is_what_a_shorter_training_ends_with(splits, tmp_path):
    run = a_run(replace(CONFIG, epochs=4, learning_rate=0.02), "paper_cnn", snapshots=(1, 3, 4))
    done(run, splits, tmp_path)
    for epochs in (1, 3, 4):
        network, state = new_network("paper_cnn", SMALL, 10, 0), {}
        short = replace(run.config, epochs=epochs)
        for progress in fit(network, splits["train"], splits["validation"], SMALL.normalise, short):
            if progress.ends_epoch:  # the last epoch's, not the best one's
                state = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(state)
        kept = read_weights(Store(tmp_path), run, 10, epochs).state_dict()
        assert all(torch.equal(kept[name], state[name]) for name in state)
        for name in splits:
            logits = read_array(Store(tmp_path), f"{run.identity}/logits-{name}-{epochs:04d}.npy")
            assert torch.equal(logits, predict_logits(network, splits[name], SMALL.normalise, device="cpu"))
    assert not (tmp_path / run.identity / "epoch-0002.safetensors").exists()
    assert teacher_key(run.identity, 3) == f"{run.identity}/logits-train-0003.npy"


def test_a_run_with_snapshots_is_prolonged(splits, tmp_path, trainings):
    short, long = (
        a_run(replace(CONFIG, epochs=epochs), snapshots=snapshots)
        for epochs, snapshots in ((2, (1, 2)), (4, (1, 2, 4)))
    )
    assert short.identity == long.identity
    done(short, splits, tmp_path / "a")
    trainings.clear()
    done(long, splits, tmp_path / "a")
    assert trainings.epochs == [(0, 3), (0, 4)]
    assert done(short, splits, tmp_path / "a") == done(long, splits, tmp_path / "a") == []
    done(long, splits, tmp_path / "b")
    a, b = (files(tmp_path / name, long.identity) for name in "ab")
    exact = [name for name in a if name.endswith((".safetensors", ".npy"))]
    assert set(a) == set(b)
    assert len(exact) == 3 * (1 + 3) + 1 + 2
    assert all(a[name] == b[name] for name in exact)
    assert curves(tmp_path / "a", long) == curves(tmp_path / "b", long)


def test_a_snapshot_between_is_trained_from_the_start(splits, tmp_path, trainings):
    # The network at the checkpoint is past it.
    first, second = (a_run(replace(CONFIG, epochs=3), snapshots=snapshots) for snapshots in ((1, 3), (2, 3)))
    done(first, splits, tmp_path / "a")
    trainings.clear()
    done(second, splits, tmp_path / "a")
    assert {epoch for _, epoch in trainings.epochs} == {1, 2, 3}
    done(second, splits, tmp_path / "b")
    a, b = (files(tmp_path / name, second.identity) for name in "ab")
    for name in ("epoch-0002.safetensors", "logits-train-0002.npy", "logits-test-0002.npy", "epoch-0003.safetensors"):
        assert a[name] == b[name]


# killed ---------------------------------------------------------------------------------------------------------------

CHILD = """
import sys, threading
from dataclasses import replace
sys.path[:0] = {paths!r}
import torch
torch.set_num_threads(1)
from kdviz.core import files
from kdviz.data import bundled_digits, LabelledImages
from sweeps import *

digits = bundled_digits()["bundled"]
small = LabelledImages(digits.images[:, :, ::2, ::2].contiguous(), digits.labels, digits.classes, digits.split)
splits, config = small_splits(small), replace(CONFIG, epochs=4)

def until(run, folder, epoch, step):
    training = execute_run(run, splits, Store(folder), "cpu", 1)
    while True:
        progress = next(training)
        if (progress.epoch, progress.step) == (epoch, step):
            return training

under_way = [
    until(a_run(config, "paper_cnn"), {folder!r} + "/cnn", 3, 2),
    until(a_run(config, teacher={teacher!r}), {folder!r} + "/taught", 3, 2),
    until(a_run(config), {folder!r} + "/writing", 2, 2),
]

def hang(_):
    print("here", flush=True)
    threading.Event().wait()

files.os.fsync = hang
list(under_way[-1])  # hangs while it writes the second checkpoint
"""


@pytest.fixture(scope="module")
def killed(small_digits, tmp_path_factory) -> Path:
    """What another process left when it was killed: two runs in the middle of epoch 3, one writing its checkpoint."""
    here, folder = Path(__file__).resolve().parents[1], tmp_path_factory.mktemp("killed")
    splits = small_splits(small_digits)
    write_array(Store(folder / "taught"), TEACHER, answers(splits))
    code = CHILD.format(paths=[str(here), str(here / "support"), str(here.parent)], folder=str(folder), teacher=TEACHER)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "here\n"
    finally:
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
    return folder


def epochs_kept(folder, run) -> int:
    return torch.load(Path(folder) / run.identity / "checkpoint.pt", weights_only=True)["epoch"]


@pytest.mark.parametrize(
    ("name", "network", "teacher"),
    [("cnn", "paper_cnn", ""), ("taught", "paper_fc", TEACHER)],  # the CNN has dropout
)
@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_was(killed, splits, soft, tmp_path, trainings, name, network, teacher):
    run = a_run(replace(CONFIG, epochs=4), network, teacher=teacher)
    assert epochs_kept(killed / name, run) == 2
    assert read_result(Store(killed / name), run.identity) is None
    steps = done(run, splits, killed / name)
    assert {epoch for _, epoch in trainings.epochs} == {3, 4}  # what was under way is done again, no more
    assert [step.epoch for step in steps if step.ends_epoch] == [1, 2, 3, 4]
    done(run, splits, with_teacher(tmp_path, soft))
    assert_same_result(run, killed / name, tmp_path)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(killed, splits, tmp_path, trainings):
    run, folder = a_run(replace(CONFIG, epochs=4)), killed / "writing"
    (half,) = (folder / run.identity).glob(".checkpoint.pt.*")  # it was really being written
    assert epochs_kept(folder, run) == 1
    done(run, splits, folder)
    assert {epoch for _, epoch in trainings.epochs} == {2, 3, 4}
    half.unlink()
    done(run, splits, tmp_path)
    assert_same_result(run, folder, tmp_path)


def interrupted(run, splits, folder, epoch: int, step: int = 2) -> None:
    """Leave a training in the middle of an epoch."""
    training = execute_run(run, splits, Store(folder), "cpu", 1)
    for progress in training:
        if (progress.epoch, progress.step) == (epoch, step):
            training.close()
            return


@pytest.mark.parametrize("network", ["paper_fc", "paper_cnn"])
@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.slow
def test_an_interrupt_in_any_epoch(splits, tmp_path, network, epoch):
    run = a_run(replace(CONFIG, epochs=3), network)
    interrupted(run, splits, tmp_path / "a", epoch)
    done(run, splits, tmp_path / "a")
    done(run, splits, tmp_path / "b")
    assert_same_result(run, tmp_path / "a", tmp_path / "b")


def test_the_best_epoch_may_lie_before_the_interrupt(splits, tmp_path):
    # What is trained is wrong: every epoch makes it worse on the validation samples.
    train = replace(splits["train"], labels=(splits["train"].labels + 1) % 10)
    run = a_run(replace(CONFIG, epochs=4))
    interrupted(run, {**splits, "train": train}, tmp_path / "a", 3)
    for name in "ab":
        done(run, {**splits, "train": train}, tmp_path / name)
    accuracies = [epoch["validation_accuracy"] for epoch in curves(tmp_path / "b", run)]
    assert max(accuracies[2:]) < max(accuracies[:2])
    assert_same_result(run, tmp_path / "a", tmp_path / "b")


def test_all_files_but_the_result_are_no_finished_run(splits, tmp_path, trainings):
    run = a_run()
    done(run, splits, tmp_path)
    before = files(tmp_path, run.identity)
    for content in (None, b"", before["result.json"][:20]):
        path = tmp_path / run.identity / "result.json"
        path.unlink() if content is None else path.write_bytes(content)
        trainings.clear()
        assert read_result(Store(tmp_path), run.identity) is None
        done(run, splits, tmp_path)
        assert len(trainings.started) == 1
        after = files(tmp_path, run.identity)
        set_aside = set() if content is None else {"result.json.damaged"}
        assert after.keys() == before.keys() | set_aside
        (tmp_path / run.identity / "result.json.damaged").unlink(missing_ok=True)
        assert all(after[name] == before[name] for name in before if name != "result.json")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: b"PK\x03\x04 not a checkpoint",
        lambda content: saved([1, 2]),
        lambda content: saved({"half": "of it"}),
    ],
    ids=["empty", "half", "garbage", "list", "other"],
)
def test_a_damaged_checkpoint_is_a_new_start(splits, tmp_path, trainings, damage):
    run = a_run(replace(CONFIG, epochs=3))
    interrupted(run, splits, tmp_path / "a", 3)
    path = tmp_path / "a" / run.identity / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    trainings.clear()
    done(run, splits, tmp_path / "a")
    assert {epoch for _, epoch in trainings.epochs} == {1, 2, 3}
    done(run, splits, tmp_path / "b")
    path.with_name("checkpoint.pt.damaged").unlink()
    assert_same_result(run, tmp_path / "a", tmp_path / "b")


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


class _Evil:
    def __reduce__(self):
        return Path.touch, (Path("was_here"),)


def test_a_checkpoint_is_not_unpickled(splits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = a_run()
    interrupted(run, splits, tmp_path / "runs", 2)
    (tmp_path / "runs" / run.identity / "checkpoint.pt").write_bytes(saved(_Evil()))
    done(run, splits, tmp_path / "runs")
    assert not Path("was_here").exists()


# when nothing can be written ------------------------------------------------------------------------------------------


@contextmanager
def full_disk(limit: int):
    """No file of this process may grow beyond ``limit`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_sentence_and_leaves_the_files_whole(splits, tmp_path):
    run = a_run(replace(CONFIG, epochs=3))
    interrupted(run, splits, tmp_path / "a", 2)
    before = files(tmp_path / "a")
    (size,) = (len(content) for content in before.values())
    with full_disk(size // 2), pytest.raises(KdvizError, match=r"^Cannot write '.*checkpoint\.pt': .*\.$") as caught:
        done(run, splits, tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert files(tmp_path / "a") == before
    done(run, splits, tmp_path / "a")
    done(run, splits, tmp_path / "b")
    assert_same_result(run, tmp_path / "a", tmp_path / "b")


def test_a_store_that_cannot_be_written_is_one_sentence(splits, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(KdvizError, match=r"^Cannot (write|read) '.*file.*'"):
        done(a_run(), splits, tmp_path / "file" / "runs")


def test_progress_tells_the_seconds_of_all_that_was_done(splits, tmp_path):
    run = a_run(replace(CONFIG, epochs=3))
    interrupted(run, splits, tmp_path, 3)
    start = time.monotonic()
    steps = done(run, splits, tmp_path)
    took = time.monotonic() - start
    ends = [step for step in steps if step.ends_epoch]
    assert ends[-1].seconds >= sum(end.seconds_of_epoch for end in ends) * 0.99
    assert ends[-1].seconds_of_epoch <= took
