"""The bench of the app: statistics, the table, what is read from /proc and from messages; and one short real run."""

from __future__ import annotations

import asyncio
import json
import math
import mmap
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from apart import apart

from kdviz.bench import app, app_browser, app_load, app_sessions, strain
from kdviz.bench.app_data import many_classes
from kdviz.bench.app_processes import cpu_seconds, descendants, idle_from, memory, total_bytes
from kdviz.bench.app_rows import line as table_line
from kdviz.bench.app_rows import median, medians, percentile, repeated_row, single_row, slope, time_parts
from kdviz.bench.app_server import Server
from kdviz.bench.app_sessions import PageRun, fields, rerun
from kdviz.bench.strain.crowd import PEOPLE, _growth, crowd
from kdviz.cli import main
from kdviz.core.errors import SettingError
from kdviz.experiment import load_experiment

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 600  # seconds, after which what is waited for will not come


# statistics -----------------------------------------------------------------------------------------------------------


def test_percentiles_lie_between_the_nearest_values():
    values = [4.0, 1.0, 3.0, 2.0, 5.0]
    assert percentile(values, 0) == 1
    assert percentile(values, 50) == median(values) == 3
    assert percentile(values, 95) == pytest.approx(4.8)
    assert percentile(values, 100) == 5
    assert percentile([7.0], 95) == 7
    assert math.isnan(percentile([], 95))
    assert math.isnan(median([]))


def test_medians_of_parts_leave_out_what_was_not_there():
    assert medians([{"a": 1, "b": 5}, {"a": 3}, {"a": 2, "b": 7}]) == {"a": 2, "b": 6}


def test_slope_of_a_line_with_noise_is_within_its_error():
    x = [float(second) for second in range(0, 200, 5)]
    noise = [math.sin(12.9898 * index) for index in range(len(x))]
    line = slope(x, [1000 + 0.05 * at + more for at, more in zip(x, noise, strict=True)])
    assert abs(line.value - 0.05) < 3 * line.error
    assert line.error < 0.01
    flat = slope(x, [1000 + more for more in noise])
    assert abs(flat.value) < 3 * flat.error


def test_steps_make_the_error_large():
    """Two levels, as when a pool of memory was taken once: neighbours are no independent points."""
    x = [float(second) for second in range(100)]
    stepped = [1000.0 if at < 50 else 1010.0 for at in x]
    points, blocks = slope(x, stepped, blocks=100), slope(x, stepped)
    assert blocks.error > 2 * points.error
    assert blocks.value == pytest.approx(points.value, rel=0.05)


def test_growth_is_judged_once_caches_had_time_to_fill():
    filling = [(float(second), 100.0 + second) for second in range(0, 900, 10)]
    level = [(float(second), 1000 + math.sin(12.9898 * second)) for second in range(900, 3600, 10)]
    still = _growth("", filling + level, 3600.0)
    assert still.passed
    assert abs(still.details["mb_per_hour"]) < 2 * still.details["standard_error"] + 1
    rising = _growth("", [(when, amount + 20 * when / 3600) for when, amount in filling + level], 3600.0)
    assert not rising.passed
    assert rising.details["mb_per_hour"] == pytest.approx(still.details["mb_per_hour"] + 20)


def test_slope_of_too_little():
    assert math.isnan(slope([1.0], [2.0]).value)
    two = slope([0.0, 2.0], [1.0, 5.0])
    assert two.value == 2
    assert math.isnan(two.error)


# rows -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("judged", "value", "passed"), [("median", 2.0, True), ("p95", 9.2, False), ("worst", 10.0, False)]
)
def test_what_is_judged_is_held_to_the_target(judged, value, passed):
    row = repeated_row("key", "text", [1.0, 2.0, 10.0], 2.5, judged=judged, where={"server": 1.5})
    assert row.value == pytest.approx(value)
    assert row.passed is passed
    assert row.details["passed"] is passed
    assert row.details["median"] == 2
    assert row.details["n"] == 3
    text = table_line(row)
    assert text.startswith("pass" if passed else "MISS")
    assert ("server 1.5" in text) is not passed  # where the time went is told when it is missed


def test_exactly_the_target_is_held_and_what_was_not_measured_is_neither():
    assert single_row("key", "text", 0, 0, "").passed is True
    assert single_row("key", "text", 1, 0, "").passed is False
    nothing = single_row("key", "text", math.nan, 2, "s", why="no /proc here")
    assert nothing.passed is None
    assert "no /proc here" in table_line(nothing)
    assert math.isnan(repeated_row("key", "text", [], 1.0).value)


def test_parts_of_a_click():
    parts = time_parts(100, 1000, sent=[50, 110, 400], received=[60, 300, 950, 1200])
    assert parts == pytest.approx(
        {
            "until sent": 0.01,
            "until the server answers": 0.19,
            "until it has told all": 0.65,
            "until drawn": 0.05,
        }
    )
    assert sum(parts.values()) == pytest.approx(0.9)
    assert time_parts(100, 130, [50], [60]) == pytest.approx({"in the browser": 0.03})
    assert sum(time_parts(100, 500, [150], []).values()) == pytest.approx(0.4)


# processes ------------------------------------------------------------------------------------------------------------


def test_descendants():
    lines = ["  1 0 init", " 10 1 python app.py", " 11 10 python -m kdviz.serving.worker", " 12 11 x", " 20 1 other y"]
    assert descendants(10, lines) == {10: "python app.py", 11: "python -m kdviz.serving.worker", 12: "x"}
    assert descendants(99, lines) == {}


def _smaps(*maps: tuple[str, int, int, int]) -> str:
    rows = []
    for name, rss, pss, anonymous in maps:
        rows += [f"7f00-7f10 r-xp 00000000 08:01 42    {name}", f"Rss: {rss} kB", f"Pss: {pss} kB"]
        rows += [f"Anonymous: {anonymous} kB", "VmFlags: rd ex"]
    return "\n".join(rows)


def test_files_that_are_shared_count_once_and_what_is_own_counts():
    worker = _smaps(("/lib/torch.so", 100, 33, 0), ("/lib/torch.so", 20, 20, 20), ("[heap]", 50, 50, 50), ("", 7, 7, 7))
    second_worker = _smaps(("/lib/torch.so", 80, 26, 0), ("/lib/own.so", 5, 5, 0), ("[heap]", 30, 30, 30))
    # torch: 100 once, 20 that were written to; own.so 5; heaps 80; nameless 7
    assert total_bytes([worker, second_worker]) == (100 + 20 + 5 + 80 + 7) * 1024
    assert total_bytes([]) == 0


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_memory_and_time_of_this_process():
    before, how = memory([os.getpid()])
    kept = mmap.mmap(-1, 30_000_000)  # new pages, which the process did not have before
    for offset in range(0, len(kept), mmap.PAGESIZE):
        kept[offset] = 1
    after, _ = memory([os.getpid()])
    assert how.startswith("PSS")
    assert after - before == pytest.approx(len(kept) / 1e6, abs=5)
    used = cpu_seconds(os.getpid())
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    assert cpu_seconds(os.getpid()) - used == pytest.approx(0.05, abs=0.03)
    assert math.isnan(cpu_seconds(2**22 + 1))


def test_rest_begins_after_the_last_work():
    times = [number / 100 for number in range(200)]
    used = [min(time, 0.5) for time in times]  # half a second of work
    assert idle_from(times, used) == pytest.approx(0.5, abs=0.011)
    assert idle_from(times, times) is None  # never
    pause = [min(time, 0.5) + max(0.0, min(time, 1.0) - 0.7) for time in times]  # 0.2 seconds are no rest
    assert idle_from(times, pause) == pytest.approx(1.0, abs=0.011)
    assert idle_from(times[:20], [0.0] * 20) is None  # too short to say


# messages -------------------------------------------------------------------------------------------------------------


def test_messages_are_streamlits():
    """Written by hand, read by Streamlit; and the other way round."""
    back = pytest.importorskip("streamlit.proto.BackMsg_pb2").BackMsg
    forward = pytest.importorskip("streamlit.proto.ForwardMsg_pb2").ForwardMsg
    said = back.FromString(rerun("sample=3&masks=100", "compare")).rerun_script
    assert (said.query_string, said.page_name, said.page_script_hash) == ("sample=3&masks=100", "compare", "")
    said = back.FromString(rerun("q" * 300, "compare", "a" * 32, "fragment")).rerun_script
    assert (said.page_name, said.page_script_hash, said.fragment_id) == ("", "a" * 32, "fragment")
    assert said.is_auto_rerun
    message = forward(hash="x" * 200, script_finished=forward.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)
    values_by_field = dict(fields(message.SerializeToString()))
    assert values_by_field[app_sessions.FINISHED] == forward.FINISHED_FRAGMENT_RUN_SUCCESSFULLY == 3
    assert forward.FINISHED_SUCCESSFULLY == app_sessions.DONE
    message = forward()
    message.auto_rerun.fragment_id, message.auto_rerun.interval = "abc", 0.25
    inside = dict(fields(dict(fields(message.SerializeToString()))[app_sessions.AUTO_RERUN]))
    assert bytes(inside[app_sessions.AUTO_FRAGMENT]) == b"abc"
    message = forward()
    message.navigation.page_script_hash = "hash"
    inside = dict(fields(dict(fields(message.SerializeToString()))[app_sessions.NAVIGATION]))
    assert bytes(inside[app_sessions.SHOWN_PAGE_HASH]) == b"hash"
    message = forward()
    message.new_session.initialize.session_id = "session"
    assert app_sessions.session_of(message.SerializeToString()) == "session"
    message = forward()
    message.page_not_found.page_name = "nowhere"
    assert app_sessions.PAGE_NOT_FOUND in dict(fields(message.SerializeToString()))


@pytest.mark.parametrize("content", [b"\x0a\x05abc", b"\xff" * 12, b"\x0b", b"\x80"])
def test_what_is_no_message_is_refused(content):
    with pytest.raises(ValueError, match="no protocol buffer"):
        list(fields(content))


def test_a_session_refreshes_a_fragment_until_the_page_no_longer_asks():
    forward = pytest.importorskip("streamlit.proto.ForwardMsg_pb2").ForwardMsg
    sent = []

    class Socket:
        async def send(self, message):
            sent.append(message)

    def tell(session, **values):
        session._receive(forward(**values).SerializeToString())

    async def use():
        session = app_sessions.Session("http://127.0.0.1:1", "compare")
        session._socket = Socket()
        shown = asyncio.create_task(session.show({"sample": 3}))
        await asyncio.sleep(0)
        tell(session, new_session={"page_script_hash": "script"})
        tell(session, navigation={"page_script_hash": "page"})
        tell(session, auto_rerun={"interval": 0.01, "fragment_id": "maps"})
        tell(session, script_finished=0)
        run = await shown
        assert session.computing
        await asyncio.sleep(0.05)
        refreshed = len(sent)
        tell(session, new_session={"page_script_hash": "script"})
        tell(session, script_finished=3)  # the fragment's end changes nothing
        assert session.computing
        tell(session, new_session={"page_script_hash": "script"})
        tell(session, script_finished=0)  # the whole page ran, and did not ask
        assert not session.computing
        await asyncio.sleep(0.03)
        assert len(sent) == refreshed
        return run

    run = apart(asyncio.run, use())
    assert isinstance(run, PageRun)
    assert run.size > 0
    assert sent[0] == rerun("sample=3", "compare")
    assert len(sent) >= 3
    assert set(sent[1:]) == {rerun("sample=3", "compare", "page", "maps")}


# the command ----------------------------------------------------------------------------------------------------------


def test_without_playwright_or_chromium_it_is_one_sentence(monkeypatch):
    monkeypatch.setenv("KDVIZ_CHROMIUM", "/nowhere/chromium")
    with pytest.raises(SettingError, match="'/nowhere/chromium', which cannot be run"):
        app_browser.chromium_path()
    monkeypatch.delenv("KDVIZ_CHROMIUM")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SettingError, match="there is no Chromium here"):
        app_browser.chromium_path()
    monkeypatch.setattr(app_browser, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r'pip install "kdviz\[test\]"'):
        app_browser.chromium_path()


def test_an_unknown_part_is_told_before_anything_starts(monkeypatch):
    monkeypatch.setattr(app, "Server", None)
    with pytest.raises(SettingError, match=r"'gallry' is no part .* gallery"):
        next(app.bench_app(parts=["gallry"]))


def test_the_help_names_every_part(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"app: only these of {', '.join(app.PARTS)}" in said


def test_models_of_many_classes_are_right_on_most_and_mistaken_within_a_block(tmp_path):
    made = load_experiment(many_classes(tmp_path / "many", 500, 100))
    accuracies = [run.metrics["test"]["accuracy"] for run in made.runs.values()]
    assert all(0.5 < accuracy < 0.9 for accuracy in accuracies)
    table = made.table("predictions")
    label, answer = (table[name].to_numpy() for name in ("label", "predicted"))
    assert (label // 10 == answer // 10)[label != answer].mean() > 0.8
    assert len(np.unique(answer)) == 100
    by_model = answer.reshape(3, 500)
    assert all(
        (answers != neighbour).any() for answers, neighbour in zip(by_model, np.roll(by_model, 1, axis=0), strict=True)
    )


def test_command(monkeypatch, capsys):
    rows = [repeated_row("first", "first maps", [0.5, 0.6], 0.7), single_row("nothing", "not here", math.nan, 1, "s")]
    asked = []
    monkeypatch.setattr("kdviz.bench.bench_app", lambda *options: asked.append(options) or iter(rows))
    main(["bench", "app", "--quick", "--parts", "compare, stop", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert asked == [(True, ["compare", "stop"], None, False)]
    assert said["first"] == 0.55
    assert said["nothing"] is None
    assert said["details"]["first"]["target"] == 0.7
    assert said["details"]["first"]["passed"] is True
    main(["bench", "app", "--hour"])
    assert asked[1] == (False, [], None, True)
    assert "pass" in capsys.readouterr().out


def test_growth_is_what_is_sure(monkeypatch):
    """A leak is told; noise about a level is not."""

    def watch(leak):
        async def compute(server, masks, go_on):
            done = [float(second) for second in range(0, 200, 5)]
            return done, [1000 + leak * at + math.sin(12.9898 * at) for at in done]

        monkeypatch.setattr(app_load, "_compute", compute)
        (row,) = apart(lambda: list(app_load.growth(None, 200, 100, False)))
        return row

    assert watch(0.0).passed
    leaking = watch(0.05)
    assert leaking.passed is False
    assert leaking.details["mb_per_100"] == pytest.approx(5, abs=0.5)


# for real -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_server_bears_each_strain_and_a_crowd():
    """Not how fast it is, which depends on the machine: that each strain is there, and that all reruns are answered."""

    def measured():
        with Server() as server:
            people = crowd(server, 6.0, pause=2.0, browsers=1)
            rows = {row.key: row for row in [*people, *strain.strain(server, 1.0, deaths=1, pause=1.0)]}
            return rows, server.problems

    rows, problems = apart(measured)
    strains = {f"strain_{name}" for name in strain.STRAINS}
    crowds = {f"crowd_{name}" for name in ("rerun", "maps", "load", "given_up", "growth")}
    assert rows.keys() == {*strains, *crowds, "strain_deaths", "strain_lost"}
    assert rows["crowd_rerun"].details["n"] > 0
    assert rows["crowd_rerun"].details["where"]["people"] >= PEOPLE - 1  # a browser takes its time to start
    assert rows["crowd_growth"].details["memory"]
    assert " of " not in table_line(rows["crowd_load"])  # nothing is asked of it
    assert all(rows[name].details["n"] >= 2 * strain.READERS for name in strains)
    assert math.isfinite(rows["strain_deaths"].value)
    assert problems == 0


@pytest.fixture
def short_folder():
    """A folder with a short path: Chromium puts a socket below it, whose path may have 107 letters."""
    with tempfile.TemporaryDirectory(prefix="kdviz-", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.mark.slow
@pytest.mark.browser
def test_a_short_run_ends_everything_that_it_started(short_folder):
    """One part, stopped by Ctrl-C in the middle: no server, worker or browser outlives it."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    try:
        app_browser.chromium_path()
    except SettingError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "kdviz", "bench", "app", "--quick", "--parts", "compare"]
    variables = {**os.environ, "TMPDIR": str(short_folder), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as bench:
        try:
            _wait_for(lambda: any("--type=renderer" in command for command in _below(bench.pid).values()))
            started = set(_below(bench.pid)) - {bench.pid}
            assert any("streamlit run" in command for command in _below(bench.pid).values())
            os.killpg(bench.pid, signal.SIGINT)  # as a terminal does
            bench.wait(LONGEST)
        finally:
            if bench.poll() is None:
                bench.kill()
    assert bench.returncode != 0
    _wait_for(lambda: not {pid for pid in started if _lives(pid)})


def _below(pid: int) -> dict[int, str]:
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True)
    return descendants(pid, listed.stdout.splitlines())


def _lives(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def _wait_for(condition) -> None:
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.2)
