"""What people bring to the page: what is let in, what is refused and why, and that it leaves no trace."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from apart import apart
from safetensors.torch import load_file, save, save_file

from kdviz.app import library, limits, login
from kdviz.app.uploads import quota, session_store, unpacking, upload, upload_validation
from kdviz.core.errors import ExperimentError, KdvizError, ModelError, SettingError
from kdviz.experiment import Experiment, load_experiment
from kdviz.studies.comparison import inventory


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch):
    """What a session brings; the test ends the time in which it may come back."""
    monkeypatch.setattr(session_store, "GRACE", 60.0)
    store = session_store.SessionStore("session-1")
    session_store._stores["session-1"] = store
    yield store
    store.end()


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def files_of(folder: Path, within: str = "") -> dict[str, bytes]:
    return {within + path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def bring(mine: session_store.SessionStore, content: bytes, name: str = "tiny.zip") -> session_store.UploadedExperiment:
    with unpacking.from_zip(content) as package:
        return mine.add_experiment(package, name)


def everything_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


# zips -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("within", ["", "tiny/", "home/me/tiny/"])
def test_a_zip_of_an_experiment_is_opened(mine: session_store.SessionStore, tiny_folder: Path, within: str) -> None:
    files = files_of(tiny_folder, within)
    extra = {"notes.txt": b"x", "run.py": b"print()", f"{within}model.onnx": b"x", f"{within}runs/a.safetensors": b"x"}
    uploaded = bring(mine, zipped({**files, **extra, "__MACOSX/._tiny": b"x", f"{within}.DS_Store": b"x"}))
    assert set(uploaded.ignored) == set(extra)
    assert {path.name for path in uploaded.folder.iterdir()} == {path.name for path in tiny_folder.iterdir()}
    opened, original = load_experiment(uploaded.folder), load_experiment(tiny_folder)
    noise = torch.rand(2, 1, 14, 14)
    for role, run in original.runs.items():
        assert torch.equal(opened.runs[role].model(noise), run.model(noise))
    assert uploaded.size == sum(len(content) for content in files.values())


def test_a_folder_of_files_is_opened(mine: session_store.SessionStore, tiny_folder: Path) -> None:
    for start in ("tiny/", "/tiny/", "./tiny/"):
        files = list(files_of(tiny_folder, start).items())
        uploaded = mine.add_experiment(unpacking.from_folder([*files, (f"{start}runs/x.parquet", b"")]), "tiny")
        assert uploaded.ignored == ("tiny/runs/x.parquet",)
        assert load_experiment(uploaded.folder).runs.keys() == {"teacher", "kd_student", "student"}


@pytest.mark.parametrize(
    "name",
    ["../experiment.json", "tiny/../../experiment.json", "/etc/experiment.json", "C:/experiment.json", "a\\..\\b.json"],
)
def test_names_that_lead_out_are_refused(mine: session_store.SessionStore, tiny_folder: Path, name: str) -> None:
    with pytest.raises(ExperimentError, match="leads out of its folder"):
        bring(mine, zipped({**files_of(tiny_folder), name: b"{}"}))
    with pytest.raises(ExperimentError, match="leads out of its folder"):
        unpacking.from_folder([("tiny/experiment.json", b"{}"), ("tiny/../../x.parquet", b"")])
    assert everything_in(mine.folder) == set()


def with_entry(content: bytes, name: str, mode: int, text: bytes = b"/etc/passwd") -> bytes:
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, text)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(mine: session_store.SessionStore, tiny_folder: Path, kind: int) -> None:
    content = with_entry(zipped(files_of(tiny_folder)), "predictions.parquet", kind | 0o777)
    with pytest.raises(ExperimentError, match=r"'predictions\.parquet' in it is a link or a device"):
        bring(mine, content)
    assert everything_in(mine.folder) == set()


@pytest.mark.slow
def test_a_bomb_is_refused_before_it_is_unpacked(mine: session_store.SessionStore, tiny_folder: Path) -> None:
    bomb = zipped({**files_of(tiny_folder), "big.safetensors": bytes(300_000_000)})
    assert len(bomb) < 3_000_000
    with pytest.raises(ExperimentError, match=r"would unpack to 30\d MB"):
        bring(mine, bomb)
    assert everything_in(mine.folder) == set()


def test_a_zip_that_lies_about_a_size_is_refused(mine: session_store.SessionStore, tiny_folder: Path) -> None:
    content = zipped({**files_of(tiny_folder), "big.safetensors": bytes(5_000_000)})
    size = struct.pack("<I", 5_000_000)
    assert content.count(size) >= 2
    with pytest.raises(ExperimentError, match="damaged"):
        bring(mine, content.replace(size, struct.pack("<I", 5_000)))
    assert everything_in(mine.folder) == set()
    assert mine.reserved == 0


def test_a_directory_of_a_million_files_is_not_parsed(
    mine: session_store.SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zipped({f"{number}.parquet": b"" for number in range(25_000)}, zipfile.ZIP_STORED)
    made: list[str] = []
    real = zipfile.ZipInfo.__init__
    monkeypatch.setattr(zipfile.ZipInfo, "__init__", lambda self, *a, **k: (made.append("x"), real(self, *a, **k))[1])
    with pytest.raises(ExperimentError, match="far more files than the 64"):
        bring(mine, content)
    assert not made


def test_more_files_than_allowed_are_refused(mine: session_store.SessionStore, tiny_folder: Path) -> None:
    files = files_of(tiny_folder) | {f"{number}.parquet": b"" for number in range(70)}
    with pytest.raises(ExperimentError, match="has 74 files"):
        bring(mine, zipped(files))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: {"a/experiment.json": b"{}", "b/experiment.json": b"{}"}, "more than one experiment"),
        (lambda files: {"a.txt": b"x"}, "no experiment.json"),
        (lambda files: {**files, "experiment.json": b" " * 3_000_000}, "larger than 2 MB"),
        (lambda files: {**files, "experiment.json": b"[" * 100_000}, "not valid JSON"),
        (lambda files: {**files, "X.parquet": b"", "x.parquet": b""}, "the same name"),
    ],
)
def test_what_is_no_experiment_is_refused(
    mine: session_store.SessionStore, tiny_folder: Path, change, words: str
) -> None:
    with pytest.raises(ExperimentError, match=words) as caught:
        bring(mine, zipped(change(files_of(tiny_folder))))
    assert str(mine.folder) not in str(caught.value)
    assert everything_in(mine.folder) == set()


@pytest.mark.slow
def test_other_kinds_of_zip_are_refused(mine: session_store.SessionStore, tiny_folder: Path) -> None:
    with pytest.raises(ExperimentError, match="compressed in a way that is not usual"):
        bring(mine, zipped(files_of(tiny_folder), zipfile.ZIP_LZMA))
    content = bytearray(zipped(files_of(tiny_folder)))
    start = content.find(b"PK\x01\x02")
    content[start + 8] |= 1
    with pytest.raises(ExperimentError, match="encrypted"):
        bring(mine, bytes(content))
    for damaged in (b"", b"PK\x05\x06", b"no zip", zipped(files_of(tiny_folder))[:-30]):
        with pytest.raises(ExperimentError, match="not a zip"):
            bring(mine, damaged)


def test_noise_in_a_zip_gives_one_sentence(mine: session_store.SessionStore, tiny_folder: Path) -> None:
    whole = zipped(files_of(tiny_folder))
    random = np.random.default_rng(0)
    for _ in range(60):
        content = bytearray(whole)
        for position in random.integers(0, len(content), 20):
            content[position] = random.integers(256)
        try:
            bring(mine, bytes(content))
        except KdvizError as error:
            assert "\n" not in str(error)  # noqa: PT017  some of the changes do no harm
            assert str(mine.folder) not in str(error)  # noqa: PT017


# its fields, weights and tables ---------------------------------------------------------------------------------------


def changed(files: dict[str, bytes], change) -> dict[str, bytes]:
    document = json.loads(files["experiment.json"])
    change(document)
    return {**files, "experiment.json": json.dumps(document).encode()}


def sized(side: int):
    return lambda document: document["input"].update(size=[side, side], fit="crop")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["runs"][0].update(sha256="0" * 64), r"'teacher-\w+.safetensors', do not match the sha256"),
        (lambda d: d["runs"][0].update(weights="../../x.safetensors"), r"field 'runs\[0\].weights'"),
        (lambda d: d["runs"][0].update(network="onnx", weights="x.onnx"), "missing"),
        (lambda d: d["runs"][0].update(network="paper_fc"), "'1.weight' .* is not in the file"),
        (lambda d: d["runs"][1].update(network="timm/no_such_network"), "no_such_network"),
        (lambda d: d["classes"].pop(), r"is 10 × 128 in the file and 9 × 128 in the network"),
        (sized(4096), "in the file and"),  # would need 4 TB
    ],
)
def test_a_document_that_does_not_fit_is_refused(
    mine: session_store.SessionStore, tiny_folder: Path, change, words: str
) -> None:
    with pytest.raises(ExperimentError, match=words) as caught:
        bring(mine, zipped(changed(files_of(tiny_folder), change)))
    assert str(mine.folder) not in str(caught.value)
    assert everything_in(mine.folder) == set()


def forged(header: dict | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


FORGED = [
    b"",
    b"\xff" * 8,
    struct.pack("<Q", 2**40) + b"{",
    forged(b"{not json"),
    forged(b"[" * 1000),
    forged({}),
    forged({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, bytes(4)),
    forged({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**50]}}, bytes(4)),
    forged({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(4)),
    forged({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    forged({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
    b"\x80\x04cos\nsystem\n",
    zipped({"archive/data.pkl": b"cos\nsystem\n(S'touch /tmp/x'\ntR."}),
]


@pytest.mark.parametrize("content", FORGED, ids=range(len(FORGED)))
def test_forged_weights_are_refused(mine: session_store.SessionStore, tiny: Experiment, content: bytes) -> None:
    with pytest.raises(ModelError, match=r"w\.safetensors"):
        mine.add_model(tiny, content, "", "mine", "w.safetensors")
    assert everything_in(mine.folder) == set()
    assert mine.size == 0


def parquet(table: pa.Table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


@pytest.mark.slow
def test_tables_that_would_fill_the_memory_are_refused(mine: session_store.SessionStore, tiny_folder: Path) -> None:
    many = pa.table({"x": pa.DictionaryArray.from_arrays(pa.array(np.zeros(4_000_000, np.int32)), ["y" * 100_000])})
    long = {"dictionary": parquet(many), "texts": parquet(many, store_schema=False)}  # 400 GB of text
    long["many rows"] = parquet(pa.table({"x": np.zeros(6_000_000, np.int8)}))
    for name, content in long.items():
        assert len(content) < 1_000_000, name
        with pytest.raises(ExperimentError, match=r"'predictions\.parquet' would take too much memory"):
            bring(mine, zipped({**files_of(tiny_folder), "predictions.parquet": content}))
    kind = parquet(pa.table({"x": pa.array([{"a": 1}])}))
    with pytest.raises(ExperimentError, match="column of a kind"):
        bring(mine, zipped({**files_of(tiny_folder), "curves.parquet": kind}))
    for content in (b"", b"PAR1PAR1", parquet(pa.table({"x": [1, 2]}))[:-20], b"PAR1" + b"\xff" * 500 + b"PAR1"):
        with pytest.raises(ExperimentError, match=r"'curves\.parquet' is damaged"):
            bring(mine, zipped({**files_of(tiny_folder), "curves.parquet": content}))
    assert everything_in(mine.folder) == set()


# weights --------------------------------------------------------------------------------------------------------------


def weights_of(experiment: Experiment, role: str) -> dict[str, torch.Tensor]:
    return load_file(experiment.folder / experiment.runs[role].weights)


def test_weights_become_a_further_model_of_a_copy(mine: session_store.SessionStore, tiny: Experiment) -> None:
    tiny.write_table("predictions", pa.table({"x": [1]}))
    before = {path: path.read_bytes() for path in everything_in(tiny.folder)}
    state = {f"module.{name}": tensor.half() for name, tensor in weights_of(tiny, "student").items()}
    uploaded = mine.add_model(tiny, save(state), "", "half", "half.safetensors")
    opened = load_experiment(uploaded.folder)
    assert list(opened.runs) == ["teacher", "kd_student", "student", "half"]
    assert opened.runs["half"].network == "paper_fc"
    assert opened.has_table("predictions")
    noise = torch.rand(4, 1, 14, 14)
    near = opened.runs["half"].model(noise)
    assert torch.allclose(near, tiny.runs["student"].model(noise), atol=1e-2)
    assert not torch.equal(near, tiny.runs["student"].model(noise))
    again = mine.add_model(opened, save(weights_of(tiny, "teacher")), "paper_cnn", "second", "t.safetensors")
    assert again is uploaded
    assert list(load_experiment(uploaded.folder).runs)[-2:] == ["half", "second"]
    assert uploaded.added == {"half": "half.safetensors", "second": "t.safetensors"}
    opened.write_table("predictions", pa.table({"x": [2]}))  # a link is replaced, not written through
    assert {path: path.read_bytes() for path in everything_in(tiny.folder)} == before
    mine.remove(uploaded.name)
    assert not uploaded.folder.exists()
    assert {path: path.read_bytes() for path in everything_in(tiny.folder)} == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s | {"5.weight": torch.zeros(7, 196)}, "'5.weight' is 7 × 196 in the file and 10 × 196"),
        (lambda s: {name: t for name, t in s.items() if name != "3.bias"}, r"'3\.bias' \(196\) is not in the file"),
        (lambda s: s | {"extra": torch.zeros(1)}, "the file has 'extra'"),
        (lambda s: s | {"1.bias": torch.zeros(196, dtype=torch.int64)}, "'1.bias' holds numbers of another kind"),
        (lambda s: s | {"1.bias": torch.full((196,), torch.nan)}, "not finite"),
        (lambda s: s | {"5.bias": torch.full((10,), torch.inf)}, "not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    mine: session_store.SessionStore, tiny: Experiment, change, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        mine.add_model(tiny, save(change(weights_of(tiny, "student"))), "paper_fc", "mine", "w.safetensors")
    assert everything_in(mine.folder) == set()
    assert mine.experiments == {}


@pytest.mark.parametrize("role", ["student", "student_se", "../x", "", "a b", "mäx"])
def test_a_role_must_be_new_and_a_name(mine: session_store.SessionStore, tiny: Experiment, role: str) -> None:
    with pytest.raises(SettingError, match=r"no role name|is taken"):
        mine.add_model(tiny, save(weights_of(tiny, "student")), "", role, "w.safetensors")
    assert everything_in(mine.folder) == set()


def test_the_network_is_found_from_the_file_or_the_first_difference_is_said(
    mine: session_store.SessionStore, tiny: Experiment
) -> None:
    assert mine.add_model(tiny, save(weights_of(tiny, "teacher")), "", "cnn", "w.safetensors").added == {
        "cnn": "w.safetensors"
    }
    with pytest.raises(ModelError, match=r"fit none of paper_cnn, paper_fc.* 'features\.0\.weight' .*not in the file"):
        mine.add_model(tiny, save({"x": torch.zeros(2)}), "", "other", "w.safetensors")


def test_networks_that_take_no_such_pictures_are_not_offered(tiny: Experiment) -> None:
    offered = upload_validation.selectable_networks(tiny)
    assert {"paper_cnn", "paper_fc"} <= set(offered)
    assert not [name for name in offered if name.startswith("torchvision/")]  # they take three channels
    for name in offered[:3]:
        assert inventory.outline(name, tiny.input, 10)


# room -----------------------------------------------------------------------------------------------------------------


def test_a_session_has_a_limit_and_all_together_have_one(
    mine: session_store.SessionStore, tiny: Experiment, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zipped(files_of(tiny_folder))
    size = bring(mine, content).size
    megabytes = size // 1_000_000
    monkeypatch.setenv(limits.SESSION, str(megabytes + 1))
    with pytest.raises(SettingError, match=r"no room .* a session may keep"):
        bring(mine, content)
    with pytest.raises(SettingError, match=r"no room .* a session may keep"):
        mine.add_model(tiny, bytes(2_000_000), "", "x", "x.safetensors")
    monkeypatch.setenv(limits.SESSION, "500")
    monkeypatch.setenv(limits.TOTAL, str(megabytes + 1))
    other = session_store.SessionStore("session-2")
    session_store._stores["session-2"] = other
    try:
        with pytest.raises(SettingError, match="all sessions together"):
            bring(other, content)
        mine.remove(next(iter(mine.experiments)))
        bring(other, content)
    finally:
        other.end()
    monkeypatch.setenv(limits.SESSION, "much")
    with pytest.raises(SettingError, match="must be a whole number"):
        bring(mine, content)


def test_nothing_is_left_of_a_session_that_is_gone(mine: session_store.SessionStore, tiny_folder: Path) -> None:
    uploaded = bring(mine, zipped(files_of(tiny_folder)))
    assert uploaded.folder.exists()
    mine.release()
    mine.keep()  # the connection came back
    mine._end_if_gone()
    assert uploaded.folder.exists()
    mine.release()
    mine._end_if_gone()
    assert not mine.folder.exists()
    assert "session-1" not in session_store._stores


@pytest.mark.slow
def test_files_of_a_killed_server_are_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom kdviz.app.uploads.server_folder import server_folder\n"
        "folder = server_folder() / 'session-x'\nfolder.mkdir()\n"  # as a session has it; its class would load torch
        "(folder / 'x').write_text('x')\nprint(server_folder())\n{end}"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def run(end: str) -> Path:
        done = subprocess.run(
            [sys.executable, "-c", code.format(end=end)], env=environment, capture_output=True, text=True, check=False
        )
        return Path(done.stdout.strip())

    killed = run("import sys; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)")
    assert len(everything_in(killed)) == 2
    ended = run("")
    assert killed != ended
    assert not killed.exists()
    assert not ended.exists()


def test_outside_of_a_session_there_is_nothing_of_anybodys(mine: session_store.SessionStore, tiny_folder: Path) -> None:
    uploaded = bring(mine, zipped(files_of(tiny_folder)))
    assert uploaded.name not in library.folders()
    assert session_store.folders() == {}
    with pytest.raises(ExperimentError, match="was removed"):
        session_store.opened(uploaded.folder, 1, lambda: 1)
    assert session_store.is_foreign(uploaded.name, list(library.folders()))
    assert not session_store.is_foreign("mnist", [])


# uploads in memory ----------------------------------------------------------------------------------------------------


def put(size: int | None, session: str = "s", held: int = 0, monkeypatch: pytest.MonkeyPatch | None = None) -> int:
    """The status of an upload; 204 where it got through."""
    sent: list[dict] = []

    async def inner(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def send(message) -> None:
        sent.append(message)

    headers = [] if size is None else [(b"content-length", str(size).encode())]
    scope = {"type": "http", "method": "PUT", "path": f"/base/_stcore/upload_file/{session}/1", "headers": headers}
    apart(asyncio.run, quota.UploadQuota(inner)(scope, None, send))
    return sent[0]["status"]


def test_a_session_cannot_fill_the_memory_with_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.SESSION, "10")
    monkeypatch.setenv(limits.TOTAL, "15")
    assert put(9_000_000) == 204
    assert put(11_000_000) == 413
    assert put(None) == 411
    monkeypatch.setattr(quota, "held_bytes", lambda: {"s": 8_000_000, "other": 6_000_000})
    assert put(1_000_000) == 204
    assert put(3_000_000) == 413
    assert put(2_000_000, "other") == 413


def test_an_upload_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its room is free again, and it is answered; one whose bytes come is not disturbed."""
    from starlette.requests import Request

    monkeypatch.setattr(quota, "STALLED", 0.05)
    monkeypatch.setattr(quota, "held_bytes", dict)
    sent: list[Any] = []

    async def read(scope: Any, receive: Any, send: Any) -> None:
        sent.append(await Request(scope, receive).body())

    async def send(message: Any) -> None:
        sent.append(message.get("status"))

    async def never() -> Any:
        await asyncio.sleep(60)

    async def comes() -> Any:
        return {"type": "http.request", "body": b"all of it", "more_body": False}

    headers = [(b"content-length", b"9")]
    scope = {"type": "http", "method": "PUT", "path": "/_stcore/upload_file/s/f", "headers": headers}
    middleware = quota.UploadQuota(read)
    apart(asyncio.run, middleware(scope, comes, send))
    assert sent == [b"all of it"]
    apart(asyncio.run, middleware(scope, never, send))
    assert sent[1] == 408
    assert not middleware._arriving


# login ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "email", "verified", "enters"),
    [
        ("", None, None, True),
        ("a@x.org", "A@X.org", True, True),
        ("a@x.org, @y.org", "b@y.org", None, True),
        ("@y.org", "b@evil-y.org", True, False),
        ("@y.org", "b@y.org.evil", True, False),
        ("a@x.org", "a@x.org", False, False),  # anybody may claim an address that is not verified
        ("a@x.org", None, None, False),
    ],
)
def test_who_may_enter(monkeypatch: pytest.MonkeyPatch, allowed: str, email, verified, enters: bool) -> None:
    monkeypatch.setenv(login.ALLOWED, allowed)
    assert login._is_allowed({"email": email, "email_verified": verified}) is enters


@pytest.mark.parametrize(
    ("groups", "enters"),
    [(["Readers", "others"], True), ("readers", True), (["others"], False), ([], False), (None, False)],
)
def test_whose_group_may_enter(monkeypatch: pytest.MonkeyPatch, groups: object, enters: bool) -> None:
    monkeypatch.setenv(login.GROUPS, "readers, admins")
    assert login._is_allowed({"email": "a@x.org", "groups": groups}) is enters


@pytest.mark.parametrize(("issued", "lasts"), [(-10, True), (-7300, False), (1000, False), (None, False)])
def test_how_long_a_login_lasts(monkeypatch: pytest.MonkeyPatch, issued: int | None, lasts: bool) -> None:
    monkeypatch.setenv(login.HOURS, "2")
    person = {} if issued is None else {"iat": time.time() + issued}
    assert login._lasts({"sub": "ada", **person}) is lasts


# the table of the page ------------------------------------------------------------------------------------------------


def test_the_inventory_says_what_is_loaded(tiny: Experiment) -> None:
    tiny.runs["student"].training.update(temperature=4.0, loss="dist")
    tiny.runs["student"].metrics["test"] = {"accuracy": 0.5}
    teacher, _, student = inventory.cards(tiny)
    assert teacher.parameters == sum(parameter.numel() for parameter in tiny.runs["teacher"].model.parameters())
    assert teacher.size == (tiny.folder / teacher.weights).stat().st_size
    rows = inventory.table(tiny).to_pylist()
    assert rows[2]["training.temperature"] == "4.0"
    assert rows[2]["test.accuracy"] == 0.5
    assert rows[0]["test.accuracy"] is None
    assert inventory.metrics_rows(tiny) == [{"role": "student", "split": "test", "accuracy": 0.5}]
    document = json.loads(json.dumps(inventory.document(tiny, "cpu")))
    assert document["runs"][2]["sha256"] == student.sha256
    assert document["versions"]["torch"] == torch.__version__
    save_file({"x": torch.zeros(1)}, tiny.folder / "other.safetensors")


def test_every_table_that_kdviz_writes_can_be_brought():
    from kdviz.app.uploads.table_check import _problem
    from kdviz.core.files import MODELS

    tables = sorted((MODELS / "mnist").glob("*.parquet"))
    assert len(tables) > 10
    assert {table.name: _problem(str(table)) for table in tables} == {table.name: "" for table in tables}


# the size of a file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("server", "session", "file"), [(200, "500", 200), (200, "50", 50), (1000, "500", 500)])
def test_a_file_may_have_what_server_and_session_allow(monkeypatch, server, session, file) -> None:
    monkeypatch.setattr("streamlit.get_option", {"server.maxUploadSize": server}.__getitem__)
    monkeypatch.setenv(limits.SESSION, session)
    assert limits.file_megabytes(limits.session_bytes()) == file
    assert limits.file_megabytes(300_000) == 1  # an uploader takes no less


@pytest.mark.parametrize(("session", "texts"), [("500", ("200", "500")), ("90", ("90", "90"))])
def test_the_text_beside_an_uploader_has_its_limit(monkeypatch, session, texts) -> None:
    """Streamlit itself writes the limit of an uploader into it."""
    said, given = [], []
    monkeypatch.setattr("streamlit.get_option", {"server.maxUploadSize": 200}.__getitem__)
    monkeypatch.setenv(limits.SESSION, session)
    monkeypatch.setattr(upload.st, "markdown", said.append)
    monkeypatch.setattr(upload.st, "file_uploader", lambda *_, **options: given.append(options["max_upload_size"]))
    monkeypatch.setattr(upload.st, "session_state", {})
    monkeypatch.setattr(upload.st, "subheader", lambda *_, **__: None)
    monkeypatch.setattr(upload.links, "page_link", lambda *_, **__: None)
    monkeypatch.setattr(upload, "_choose_kind", lambda: "zip")
    monkeypatch.setattr(upload, "_show_uploaded", lambda opened: None)
    upload.show_uploads(None)  # type: ignore[arg-type]  its experiment is only shown for weights
    assert f"Up to {texts[0]} MB a file, {texts[1]} MB together" in said[0]
    assert given == [int(texts[0])]
