"""The machine's clock may jump by a day at any time: nothing that waits, ends or is tidied up goes by it."""

from __future__ import annotations

import ast
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import kdviz
from kdviz.app import login
from kdviz.app.pages.bring_models.check import zipped
from kdviz.app.uploads import server_folder, session_store
from kdviz.core.decoding.watch import Watch
from kdviz.core.files import PART, remove_abandoned, stamp_of
from kdviz.core.jobs import JobQueue
from kdviz.core.processes.folder_lock import FolderInUseError, writing

DAY = 86_400.0
PACKAGE = Path(kdviz.__file__).parent
TOLD = "it is said to people, and decides nothing"
ALLOWED = {
    "app/login.py": "a login is as old as its provider says; once it is known, the process's own clock counts",
    "bench/app_pages.py": "an instant that a browser is told, in a measurement by hand",
    "bench/rows.py": TOLD,
    "compress/forms.py": TOLD,
    "core/processes/folder_lock.py": TOLD,
    "figures/report.py": TOLD,
}
"""Files that ask for the time of day, and why they may."""
CLOCKS = {
    "time": {"time", "time_ns", "gmtime", "localtime", "strftime", "ctime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def asks_for_the_time_of_day(source: str) -> bool:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if node.attr in CLOCKS.get(owner, ()):
                return True
        from_time = isinstance(node, ast.ImportFrom) and node.module == "time"
        if from_time and {each.name for each in node.names} & CLOCKS["time"]:
            return True
    return False


@pytest.mark.parametrize(
    ("source", "asks"),
    [
        ("import time\ntime.time()", True),
        ("import datetime\ndatetime.datetime.now()", True),
        ("from datetime import date\ndate.today()", True),
        ("from time import time", True),
        ("read = time.time", True),
        ("import time\ntime.monotonic()", False),
        ("now = 3", False),
    ],
)
def test_what_asks_for_the_time_of_day_is_found(source: str, asks: bool) -> None:
    assert asks_for_the_time_of_day(source) is asks


def test_only_what_has_a_reason_asks_for_the_time_of_day() -> None:
    files = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert len(files) > 300
    asking = {name for name, source in files.items() if asks_for_the_time_of_day(source)}
    assert asking == set(ALLOWED)


def test_files_are_not_compared_by_their_age() -> None:
    """A time of change says that a file is another one, never that it is older or newer."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and any(
                isinstance(each, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for each in node.ops
            ):
                assert "st_mtime" not in ast.dump(node), path
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("min", "max", "sorted"):
                assert "st_mtime" not in ast.dump(node), path


# what happens when it jumps -------------------------------------------------------------------------------------------


@pytest.fixture(params=[DAY, -DAY], ids=["a day later", "a day earlier"])
def jump(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the machine's clock jump from now on."""
    seconds, real, read = request.param, time.time, time.gmtime

    def jump() -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)
        monkeypatch.setattr(time, "gmtime", lambda *at: read(*at) if at else read(real() + seconds))

    return jump


@pytest.fixture
def ada(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Somebody who has logged in an hour ago."""
    monkeypatch.setattr(login, "_ends", {})
    monkeypatch.setattr(login, "_logged_out", set())
    return {"iss": "https://provider", "sub": "ada", "iat": time.time() - 3600}


def test_a_login_neither_ends_nor_goes_on_because_of_it(
    ada: dict[str, object], jump: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert login._lasts(ada)
    jump()
    assert login._lasts(ada)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 22.9 * 3600)
    assert login._lasts(ada)
    monkeypatch.setattr(time, "monotonic", lambda: now + 23.1 * 3600)
    assert not login._lasts(ada)
    login._forget_old()
    assert not login._lasts(ada)


def test_a_login_that_was_ended_stays_so(
    ada: dict[str, object], jump: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class User:
        to_dict = staticmethod(lambda: ada)

    monkeypatch.setattr(login.st, "user", User)
    monkeypatch.setattr(login.st, "logout", lambda: None)
    assert login._lasts(ada)
    login.log_out()
    jump()
    login._forget_old()
    assert not login._lasts(ada)
    later = time.monotonic() + login._seconds() + login._COOKIE + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    login._forget_old()
    assert login._ends == {}
    assert login._logged_out == set()


def test_jobs_take_their_turns_and_as_long_as_they_take(jump: Callable[[], None]) -> None:
    def steps():
        yield 1
        jump()
        yield 2

    queue = JobQueue()
    jobs = [queue.submit(steps), queue.submit(lambda: iter([3]))]
    assert all(job.wait(30) for job in jobs)
    assert [job.latest for job in jobs] == [2, 3]
    assert all(0 <= job.seconds < 60 for job in jobs)


def test_a_limit_is_kept_and_not_cut_short(jump: Callable[[], None]) -> None:
    watch = Watch()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        try:
            with watch.limited(process, 600):
                jump()
                time.sleep(0.6)
                assert process.poll() is None
            with watch.limited(process, 0.1):
                assert process.wait(30) == -signal.SIGKILL
        finally:
            process.kill()


def test_a_folder_stays_locked_and_is_let_go(jump: Callable[[], None], tmp_path: Path) -> None:
    with writing(tmp_path / "e", "kdviz sweep"):
        jump()
        with pytest.raises(FolderInUseError, match="kdviz sweep"), writing(tmp_path / "e", "kdviz study"):
            pass
    with writing(tmp_path / "e", "kdviz study"):
        pass


def test_the_files_of_a_session_that_is_gone_are_removed(
    jump: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_store, "GRACE", 0.3)
    store, ended = session_store.SessionStore("session-of-a-day"), threading.Event()
    end = store.end
    monkeypatch.setattr(store, "end", lambda: (end(), ended.set()))
    store.release()
    jump()
    assert ended.wait(30)
    assert not store.folder.exists()


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_leftovers_are_known_by_their_locks_and_not_by_their_age(
    seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_folder.tempfile, "tempdir", str(tmp_path))
    folders = [tmp_path / f"{server_folder._ROOT}{name}" for name in ("living", "dead")]
    for folder in folders:
        folder.mkdir()
        (folder / "lock").touch()
    assert server_folder._lock_file(folders[0])
    half = tmp_path / f".table.parquet.abcdefgh{PART}"
    half.touch()
    for path in (*folders, half):
        os.utime(path, (time.time() + seconds,) * 2)
    server_folder._sweep()
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == folders[:1]


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_file_that_is_replaced_is_another_one(seconds: float, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    before = stamp_of(tmp_path, "a")
    (tmp_path / "a").write_bytes(b"2")
    os.utime(tmp_path / "a", (time.time() + seconds,) * 2)
    assert stamp_of(tmp_path, "a") != before


@pytest.mark.parametrize("seconds", [0, 5e9])
def test_files_of_any_time_are_packed(seconds: float, tmp_path: Path) -> None:
    """Those of reproducible builds are of 1970, and a zip knows no time before 1980."""
    (tmp_path / "a.txt").write_bytes(b"1")
    os.utime(tmp_path / "a.txt", (seconds, seconds))
    with zipfile.ZipFile(io.BytesIO(zipped(tmp_path, "e"))) as archive:
        assert archive.read("e/a.txt") == b"1"
