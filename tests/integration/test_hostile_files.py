"""Hostile files by every way in: nothing is executed or written elsewhere, and each refusal is one sentence."""

from __future__ import annotations

import resource
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_files import EXPLODED, everything_below, good_files, hostile_files, hostile_zips

from kdviz.app.uploads import session_store, unpacking, upload_validation
from kdviz.cli import main
from kdviz.core.errors import KdvizError
from kdviz.core.images import open_image, open_mask, picture_size
from kdviz.data.regions import read_regions
from kdviz.experiment import load_experiment
from kdviz.models.checkpoints import read_checkpoint

pytestmark = pytest.mark.slow
SECONDS = 10.0  # of processor time, for one file by one way


def commands(path: Path, experiment: Path, out: Path) -> list[list[str]]:
    """The commands that open a file of this ending."""
    if path.suffix in (".png", ".jpg", ".gif", ".tif", ".webp", ".bmp"):
        explain = ["explain", str(path), "-e", str(experiment), "--masks", "4", "--grid", "3"]
        return [[*explain, "--out", str(out / "maps.npz")]]
    if is_of_regions(path):
        return []  # they are opened when there are pictures that they are of
    if path.suffix in (".npz", ".npy", ".csv"):
        return [["import", "--out", str(out / "new"), "--predictions", f"teacher={path}"]]
    if path.suffix == ".parquet":
        return [["evaluate", "-e", str(experiment), "--data", str(path)]]
    if path.suffix == ".toml":
        return [["train", "mnist", "--data", str(out / "nothing"), "--out", str(out / "new"), "--recipe", str(path)]]
    return [["import", "--out", str(out / "new"), "--teacher", str(path)]]


def is_of_regions(path: Path) -> bool:
    return path.suffix in (".json", ".xml") or path.name.startswith(("regions", "numbers.csv"))


def readers(path: Path) -> list[Callable[[Path], Any]]:
    """What opens it from Python."""
    if path.suffix in (".png", ".jpg", ".gif", ".tif", ".webp", ".bmp"):
        return [open_image, open_mask, picture_size]
    if is_of_regions(path):
        return [lambda path: read_regions(path, {"a.png": (10, 20)})]
    return [read_checkpoint] if path.suffix in (".pt", ".pth", ".safetensors") else []


def faults_of_command(command: list[str], capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    start = time.process_time()
    try:
        status = main(command)
    except SystemExit as error:  # wrong usage, as argparse says it
        status = 2 if error.code == 2 else -1
    except Exception as error:
        yield f"{type(error).__name__}: {str(error)[:200]}"
        status = 0
    output = capsys.readouterr()
    said = [line for line in output.err.splitlines() if line.startswith("kdviz: ") and "warning" not in line]
    if status == 1 and len(said) != 1:
        yield f"{len(said)} sentences"
    if "Traceback" in output.err or status == -1:
        yield output.err[-300:]
    if time.process_time() - start > SECONDS:
        yield f"{time.process_time() - start:.0f} s"


def faults_of_call(act: Callable[[], Any]) -> Iterator[str]:
    start = time.process_time()
    try:
        act()
    except KdvizError as error:
        if "\n" in str(error) or len(str(error)) > 2000:
            yield f"not one sentence: {str(error)[:200]!r}"
    except Exception as error:
        yield f"{type(error).__name__}: {str(error)[:200]}"
    if time.process_time() - start > SECONDS:
        yield f"{time.process_time() - start:.0f} s"


def test_the_good_files_are_of_the_kinds_that_are_tried(tmp_path: Path) -> None:
    for name, content in good_files().items():
        (tmp_path / name).write_bytes(content)
        for read in readers(tmp_path / name):
            read(tmp_path / name)


CLEAR = Path("/proc/self/clear_refs")


def memory_from_now_on() -> float:
    """GB that this process has, with which its peak begins anew: earlier tests of the process do not count."""
    if CLEAR.exists():
        CLEAR.write_text("5")  # proc(5)
    return peak_memory()


def peak_memory() -> float:
    """The most memory of this process so far, GB."""
    if CLEAR.exists():
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def test_hostile_files_by_command_line_and_python(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room, out = tmp_path / "room", tmp_path / "room" / "out"
    room.mkdir()
    monkeypatch.chdir(room)
    addresses: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: addresses.append(address))
    before, faults, count, seconds = everything_below(tmp_path), [], 0, {}
    used = memory_from_now_on()
    accepted = 0
    for name, content in hostile_files():
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        path = room / name
        path.write_bytes(content)
        start = time.process_time()
        for command in commands(path, tiny_folder, out):
            faults += [(name, command[0], fault) for fault in faults_of_command(command, capsys)]
        seconds[name] = time.process_time() - start
        accepted += any(out.iterdir())
        for read in readers(path):
            faults += [
                (name, read.__name__, fault) for fault in faults_of_call(lambda read=read, path=path: read(path))
            ]
        path.unlink()
        left = [each for each in everything_below(room) if out not in each.parents]
        faults += [(name, "left", str(each)) for each in left]
        count += 1
    shutil.rmtree(out)
    slowest = max(seconds, key=lambda name: seconds[name])
    memory = peak_memory() - used
    print(f"{count} files, {accepted} accepted by a command, {len(faults)} faults, the slowest {slowest}: ", end="")
    print(f"{seconds[slowest]:.1f} s of processor time, {memory:.2f} GB at most, {len(addresses)} requests")
    assert faults == []
    assert count >= 300
    assert addresses == []
    assert memory < 1  # beside the 0.5 GB of a command that has read nothing yet
    assert everything_below(tmp_path) == before
    assert not list(tmp_path.rglob(EXPLODED))


def test_hostile_zips_by_the_page(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session_store, "GRACE", 60.0)
    store = session_store.SessionStore("hostile")
    session_store._stores["hostile"] = store
    files = {path.name: path.read_bytes() for path in tiny_folder.iterdir()}
    before, faults = everything_below(tmp_path), []

    def sent(content: bytes) -> None:
        with unpacking.from_zip(content) as package:
            store.add_experiment(package, "sent.zip")

    try:
        for name, content in hostile_zips(files):
            faults += [(name, fault) for fault in faults_of_call(lambda content=content: sent(content))]
    finally:
        store.end()
    assert faults == []
    assert everything_below(tmp_path) == before
    assert not Path("/tmp/kdviz-hostile.json").exists()


def test_hostile_tables_and_weights_in_an_experiment(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a visitor's experiment may hold, by the page's check and by the command line."""
    monkeypatch.chdir(tiny_folder)
    before, faults = everything_below(tiny_folder), []
    for name, content in hostile_files():
        if name not in ("table-half.parquet", "table-pickle.parquet", "deep.parquet", "repeated.parquet"):
            continue  # each is read in a process of its own
        table = tiny_folder / "predictions.parquet"
        table.write_bytes(content)
        faults += [
            (name, fault) for fault in faults_of_call(lambda: upload_validation.validate_experiment(tiny_folder, "x"))
        ]
        faults += [(name, fault) for fault in faults_of_command(["report", "-e", str(tiny_folder)], capsys)]
        table.unlink()
    assert faults == []
    assert everything_below(tiny_folder) == before
    assert load_experiment(tiny_folder).runs
