"""The folder of long work's files, on a disk and elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from fsspec.registry import known_implementations

from kdviz.core.errors import KdvizError
from kdviz.core.files import Store


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path) -> Store:
    return Store(tmp_path / "deep" / "er" if request.param == "local" else f"memory://{uuid.uuid4().hex}/runs")


def test_what_is_written_is_read_until_it_is_removed(store):
    assert store.read("a/b.bin") is None
    assert not store.has("a/b.bin")
    for content in (b"\x00one\r\n", b"", b"a longer second one"):
        store.write("a/b.bin", content)
        assert store.read("a/b.bin") == content
        assert store.has("a/b.bin")
    store.write("a/c.bin", b"other")
    store.remove("a/b.bin")
    store.remove("a/b.bin")  # gone is gone
    assert (store.read("a/b.bin"), store.has("a/b.bin"), store.read("a/c.bin")) == (None, False, b"other")


def test_its_url_opens_the_same_folder(store):
    store.write("x", b"1")
    assert Store(store.url).read("x") == b"1"


def test_a_path_means_the_same_from_everywhere(tmp_path, monkeypatch):
    # Workers on other machines get the URL and have another working folder.
    monkeypatch.chdir(tmp_path)
    store = Store("runs")
    store.write("x", b"1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Store(store.url).read("x") == b"1"
    assert Path(store.url) == tmp_path / "runs"


def test_a_folder_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Store("~/runs").write("x", b"1")
    assert (tmp_path / "runs" / "x").read_bytes() == b"1"


@pytest.mark.parametrize("url", ["nosuch://bucket/runs", "s3x://bucket"])
def test_an_unknown_protocol_is_one_sentence(url):
    with pytest.raises(KdvizError, match=rf"^Cannot open the folder '{url}': Protocol not known"):
        Store(url)


def test_a_protocol_whose_package_is_missing_says_which(monkeypatch):
    known = {"class": "kdviz_no_such_package.FileSystem", "err": "Install no_such_package to access it"}
    monkeypatch.setitem(known_implementations, "missing", known)
    with pytest.raises(KdvizError, match=r"^Cannot open the folder 'missing://b/f': Install no_such_package"):
        Store("missing://b/f")


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    store, contents = Store(tmp_path), [letter * 300_000 for letter in (b"a", b"b")]
    store.write("x", contents[0])
    stop, seen = threading.Event(), set()

    def read():
        while not stop.is_set():
            seen.add(store.read("x"))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        store.write("x", contents[number % 2])
    stop.set()
    reader.join()
    assert seen <= set(contents)
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]  # nothing is left of the way there


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write("a/x", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(KdvizError, match=r"^Cannot write '.*a/x': No space left on device\.$"):
            store.write("a/x", b"new")
    assert store.read("a/x") == b"old"
    assert os.listdir(tmp_path / "a") == ["x"]  # noqa: PTH208


@pytest.mark.parametrize("act", ["write", "remove", "read"])
def test_other_failures_are_one_sentence(tmp_path, monkeypatch, act):
    store = Store(tmp_path)
    (tmp_path / "file").write_text("no folder")
    name = "file/x"
    if act == "remove":
        name = "folder"
        (tmp_path / name).mkdir()
    with pytest.raises(KdvizError, match=rf"^Cannot {act} '{tmp_path}/{name}': [A-Z].*\.$"):
        store.write(name, b"1") if act == "write" else getattr(store, act)(name)


def test_a_failure_of_a_remote_store_is_one_sentence(monkeypatch):
    store = Store(f"memory://{uuid.uuid4().hex}")

    def refused(*_, **__):
        raise PermissionError(13, "Access denied")

    for name in ("pipe_file", "cat_file"):
        monkeypatch.setattr(store._files, name, refused)
    with pytest.raises(KdvizError, match=r"^Cannot write .*Access denied"):
        store.write("x", b"1")
    with pytest.raises(KdvizError, match=r"^Cannot read .*Access denied\.$"):
        store.read("x")


def test_two_processes_may_write_the_same_file(tmp_path):
    # A run that Ray does twice, because it took a machine for lost.
    code = (
        "import sys; from kdviz.core.files import Store\n"
        "for _ in range(200): Store(sys.argv[1]).write('x', sys.argv[2].encode() * 10_000)"
    )
    root = Path(__file__).resolve().parents[3]
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), letter], cwd=root) for letter in "ab"]
    assert [process.wait() for process in both] == [0, 0]
    assert Store(tmp_path).read("x") in (b"a" * 10_000, b"b" * 10_000)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
