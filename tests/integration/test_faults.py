"""Two processes on one folder, processes that are told to end or are killed, full disks: nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from faulty import ROOT, command, half_written, holding, pictures_of_two_classes, training, wait_for

from kdviz.cli import main
from kdviz.core.errors import ExperimentError, KdvizError
from kdviz.core.files import Store
from kdviz.core.processes.folder_lock import FolderInUseError, writing
from kdviz.distill.storage.run_files import read_array, read_state
from kdviz.experiment import load_experiment

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files are locked and processes ended as POSIX does it")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures_of_two_classes(tmp_path_factory.mktemp("data") / "two")


def test_a_second_command_is_told_who_writes_the_folder(
    tiny_folder: Path, digit_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with holding(tiny_folder) as holder:
        try:
            assert main(["evaluate", "-e", str(tiny_folder)]) == 1
            (sentence,) = capsys.readouterr().err.splitlines()
            assert sentence.startswith(f"kdviz: Another process is writing '{tiny_folder}' (kdviz sweep, process ")
            assert f"process {holder.pid} on " in sentence
            assert " UTC); wait until it has ended, or stop it." in sentence
            explain = ["explain", str(digit_file), "-e", str(tiny_folder), "--masks", "8", "--grid", "3"]
            assert main([*explain, "--out", str(tiny_folder.parent / "maps.npz")]) == 0  # who reads is not hindered
            assert main(["sweep", "temperature", "-e", str(tiny_folder), "--results", "/proc/x", "--estimate"]) == 1
            assert "Another process" not in capsys.readouterr().err  # an estimate writes nothing
        finally:
            holder.kill()
    with writing(tiny_folder, "kdviz test"):  # it was killed, and the lock has gone with it
        pass
    assert half_written(tiny_folder) == []


def test_locks_are_of_one_folder_and_let_go(tmp_path: Path) -> None:
    for _ in range(3):
        with writing(tmp_path / "a", "one"), writing(tmp_path / "b", "two"):
            with pytest.raises(FolderInUseError, match="one"), writing(tmp_path / "x" / ".." / "a", "three"):
                pass
            with pytest.raises(FolderInUseError, match="two"), writing(tmp_path / "b", "three"):
                pass
    assert list(tmp_path.iterdir()) == [tmp_path / "x"] or list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_and_restored(tiny_folder: Path) -> None:
    whole, beside = sorted(tiny_folder.iterdir()), tiny_folder.parent
    (tiny_folder / ".cost.parquet.abcdefgh.part").write_bytes(b"half")
    (beside / f".{tiny_folder.name}-abcd1234.part").mkdir()
    other = beside / f".{tiny_folder.name}-mine-abcd1234.part"  # of another experiment
    other.mkdir()
    (beside / f".{tiny_folder.name}-20261201").mkdir()  # somebody's own
    tiny_folder.rename(beside / f".{tiny_folder.name}-wxyz1234.part-old")  # it was just being replaced
    with writing(tiny_folder, "kdviz import"):
        pass
    assert sorted(tiny_folder.iterdir()) == whole
    assert set(half_written(tiny_folder)) == {beside / f".{tiny_folder.name}-20261201", other}
    load_experiment(tiny_folder)


def test_a_file_that_is_being_written_is_not_removed(tiny_folder: Path) -> None:
    from kdviz.core.files import replacing

    with replacing(tiny_folder / "table.parquet") as temporary:
        temporary.write_bytes(b"table")
        with writing(tiny_folder, "kdviz evaluate"):
            assert temporary.exists()
    assert (tiny_folder / "table.parquet").read_bytes() == b"table"


@pytest.mark.slow
def test_a_training_ends_when_it_is_told_to_and_goes_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "models" / "e"
    with command(*training(data, out, "--epochs", "3000")) as process:
        wait_for(out / "runs" / "unfinished")
        assert main(training(data, out, "--epochs", "1")) == 1
        assert "Another process is writing" in capsys.readouterr().err
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.rstrip().endswith("kdviz: stopped.")
    assert "Traceback" not in errors
    assert half_written(out) == []
    assert main(training(data, out, "--epochs", "1")) == 0


@pytest.mark.slow
def test_what_does_not_end_by_itself_is_cut_off() -> None:
    script = (
        "import sys, time, kdviz.cli as cli\n"
        "def busy(options):\n"
        "    print('busy', flush=True)\n"
        "    while True:\n"
        "        try: time.sleep(60)\n"
        "        except BaseException: pass\n"
        "cli._run = busy\n"
        "sys.exit(cli.main(['list', 'methods']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(600) == 128 + signal.SIGTERM
        assert process.stderr is not None
        assert process.stderr.read() == "kdviz: stopped.\n"


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of three megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "kdviz", disk], check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def sentences(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a command has said on stderr, without its progress bars and warnings."""
    lines = [line for text in capsys.readouterr().err.split("\r") for line in text.splitlines()]
    assert not any("Traceback" in line for line in lines)
    return [line for line in lines if line.startswith("kdviz: ") and not line.startswith("kdviz: warning")]


@pytest.mark.slow
@pytest.mark.parametrize("room", [20_000, 1_500_000, 2_900_000])
def test_a_disk_that_is_full_loses_nothing(
    small_disk: Path, data: Path, tiny_folder: Path, room: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_disk / "filling").write_bytes(bytes(3 * 2**20 - room))
    folder = small_disk / "e"
    assert main(training(data, folder, "--epochs", "2")) == 1  # three networks of 2.8 MB do not fit
    (said,) = sentences(capsys)
    assert "No space left on device" in said
    assert half_written(folder) == []
    assert not (folder / "experiment.json").exists()


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_read_all_the_same(
    small_disk: Path, data: Path, tiny_folder: Path, digit_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tiny_folder, small_disk / "e"))
    before = every_file(folder)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for arguments in (
        training(data, folder, "--epochs", "1"),
        training(data, small_disk / "new" / "e", "--epochs", "1"),
    ):
        assert main(arguments) == 1, arguments
        assert "Read-only file system" in sentences(capsys)[-1]
    explain = ["explain", str(digit_file), "-e", str(folder), "--masks", "8", "--grid", "3"]
    assert main([*explain, "--out", str(tiny_folder.parent / "maps.npz")]) == 0
    assert every_file(folder) == before


class FullDisk:
    """A disk that is full from the n-th file on that is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        import errno

        from kdviz.core.files import PART

        make, self.left = os.open, 0

        def open_file(path, flags, *mode, **options):
            if str(path).endswith(PART) and flags & os.O_CREAT:
                self.left -= 1
                if self.left < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return make(path, flags, *mode, **options)

        monkeypatch.setattr(os, "open", open_file)


def every_file(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "evaluate", "sweep", "import"])
def test_a_full_disk_at_every_write(
    data: Path, tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "e"
    assert main(training(data, out, "--epochs", "1")) == 0
    weights = next(out.glob("teacher-*.safetensors"))
    arguments = {
        "train": training(data, out, "--epochs", "1", "--seed", "1"),
        "evaluate": ["evaluate", "-e", str(out), "--data", str(data)],
        "sweep": ["sweep", "temperature", "-e", str(out), "--data", str(data), "--values", "2", "--seeds", "0"],
        "import": ["import", "--out", str(tmp_path / "i"), "--teacher", f"{weights},network=paper_fc"],
    }[verb]
    arguments += {
        "sweep": ["--epochs", "1", "--device", "cpu"],
        "import": ["--classes", "dark,light", "--data", str(data / "test")],
    }.get(verb, [])
    before = every_file(out)
    disk = FullDisk(monkeypatch)
    capsys.readouterr()
    for allowed in range(100):
        disk.left = allowed
        if main(arguments) == 0:
            break
        said = sentences(capsys)
        assert "No space left on device" in said[-1], (allowed, said)
        load_experiment(out)
        left = every_file(out)
        assert half_written(out) == [], allowed
        if verb != "train":  # a training may have replaced a model by a whole one
            assert {name: left[name] for name in before} == before, allowed
    assert allowed > 0
    assert disk.left >= 0 or verb == "import"  # which can do without its example maps, as the page offers to make them


@pytest.fixture(scope="module")
def killed() -> dict[str, str]:
    """What comes of a few kills, a text for each command, the server and its worker; from one process.

    docs/explanation/faults.md says what came of many. The process imports all of kdviz, which takes most of the time.
    """
    code = "import killed; killed.report('KILL', 3, 'train'); killed.report('TERM', 3, 'sweep')\n"
    code += "killed.report('KILL', 3, 'tune')\n" if find_spec("optuna") else ""
    code += "import killed_server; killed_server.report(2, 'server', 'worker')\n" if sys.platform == "linux" else ""
    paths = os.pathsep.join(str(path) for path in (ROOT, ROOT / "tests", ROOT / "tests" / "support"))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    texts = re.split(r"^(?=\w+: \d+ times)", ended.stdout, flags=re.MULTILINE)
    return {text.partition(":")[0]: text for text in texts if text}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "sweep", "tune"])
def test_nothing_is_lost_but_what_was_under_way(killed: dict[str, str], verb: str) -> None:
    if verb == "tune":
        pytest.importorskip("optuna")
    said = killed[verb]
    assert said.startswith(f"{verb}: 3 times ended, "), said
    assert " 0 faults; " in said
    (lost,) = re.findall(r"; ([\d.]+) epochs done again each time", said)
    assert float(lost) <= 1, said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are listed as Linux does it")
@pytest.mark.parametrize("what", ["server", "worker"])
def test_a_server_and_its_worker_leave_nothing_when_they_are_killed(killed: dict[str, str], what: str) -> None:
    assert killed[what].startswith(f"{what}: 2 times killed, "), killed[what]
    assert " 0 faults; " in killed[what]


@pytest.mark.parametrize("how", ["gone", "cut off", "another's"])
def test_weights_that_change_while_they_are_served(tiny_folder: Path, how: str) -> None:
    experiment = load_experiment(tiny_folder)
    weights = tiny_folder / experiment.runs["teacher"].weights
    if how == "gone":
        weights.unlink()
    else:
        other = tiny_folder / experiment.runs["student"].weights
        weights.write_bytes(weights.read_bytes()[:500] if how == "cut off" else other.read_bytes())
    with pytest.raises(ExperimentError, match=r"weights of the teacher.*(are missing|do not match the sha256)"):
        _ = experiment.runs["teacher"].model
    assert experiment.runs["student"].model is not None


# damaged files --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    """An experiment with every kind of table and state, and the commands that made them."""
    out = tmp_path_factory.mktemp("models") / "e"
    assert main(training(data, out, "--epochs", "1")) == 0
    of, one = ["-e", str(out), "--data", str(data)], ["--device", "cpu"]
    maps = ["--images", "8", "--masks", "32", "--faithfulness", "2"]
    commands = [
        ["sweep", "temperature", *of, "--values", "2", "--seeds", "0", "--epochs", "1", *one],
        ["study", *of, "--study", "models", *maps, *one],
        ["evaluate", *of, *one],
    ]
    for arguments in commands:
        assert main(arguments) == 0
    return out, commands


@pytest.mark.slow
def test_a_damaged_file_is_refused_or_set_aside_and_made_again(
    swept: tuple[Path, list[list[str]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole, commands = swept
    out, faults, set_aside = tmp_path / "e", [], set()
    for number, name in enumerate(one_of_each_kind(whole)):
        for arguments in commands:
            own = {"runs": "sweep", "study": "study"}.get(name.parts[0], commands[number % len(commands)][0])
            if arguments[0] != own:
                continue
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(whole, out)
            content = (out / name).read_bytes()
            (out / name).write_bytes((content[: len(content) // 2], b"", b"\0" * len(content))[number % 3])
            again = [str(out) if each == str(whole) else each for each in arguments]
            caplog.clear()
            outcomes = [attempt(again, capsys), attempt(again, capsys)]
            faults += [(str(name), arguments[0], outcome) for outcome in outcomes if outcome and "dam" not in outcome]
            if outcomes[1] and name.suffix != ".parquet":  # a result's table is the person's; states are made again
                faults.append((str(name), arguments[0], outcomes[1]))
            kept = (out / f"{name}.damaged").exists()
            said = any("was damaged; it is kept as" in record.getMessage() for record in caplog.records)
            set_aside |= {name.suffix} if kept else set()
            if kept != said:
                faults.append((str(name), arguments[0], f"kept {kept}, said {said}"))
    assert faults == []
    assert set_aside == {".json", ".parquet"}  # what is read again where results are complete


@pytest.mark.parametrize("read", [read_array, read_state])
def test_a_damaged_file_of_a_run_is_set_aside_and_the_run_made_again(
    read: Callable[[Store, str], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    store.write("run/result.json", b"{}")
    store.write("run/file", b"nonsense")
    with pytest.raises(KdvizError, match="was damaged and is set aside; the same command, given once more, makes it"):
        read(store, "run/file")
    assert every_file(tmp_path) == {"run/file.damaged": b"nonsense"}
    assert "it is kept as 'file.damaged', and made again." in caplog.text


def one_of_each_kind(experiment: Path) -> list[Path]:
    """The tables of an experiment, and one state of each kind that commands keep beside them."""
    kinds = ("*.parquet", "runs/*/*", "study/*/*")
    files = [path.relative_to(experiment) for kind in kinds for path in sorted(experiment.glob(kind)) if path.is_file()]
    return list({(path.parts[0], re.sub(r"[0-9a-f-]{4,}", "", path.name)): path for path in files}.values())


def attempt(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says when it fails; nothing if it does not."""
    try:
        status = main(arguments)
    except Exception as error:
        capsys.readouterr()
        return f"{type(error).__name__}: {str(error)[:200]}"
    said = sentences(capsys)
    return said[-1] if status else ""
