"""The container's steps in an empty root, without a container engine: by nobody, nothing can be written but in /tmp."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from apart import apart

from kdviz.bench.app_sessions import Session

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "assets" / "deploy" / "Containerfile").read_text().splitlines()
SITE = "/opt/kdviz"  # where the package is in the new root; what it needs is this environment's, read-only
STARTS = 120.0

needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "chroot"))),
    reason="needs Linux, root, and unshare, setpriv and chroot, to make a root of its own",
)


def steps(name: str) -> list[str]:
    """What the Containerfile says after an instruction, line by line."""
    return [line.removeprefix(f"{name} ") for line in LINES if line.startswith(f"{name} ")]


def test_the_container_is_as_promised() -> None:
    assert steps("USER") == ["65534:65534"]
    assert steps("VOLUME") == ["/data"]
    (run,) = steps("RUN")
    assert "-c /src/assets/deploy/constraints.txt" in run
    assert "--read-only --tmpfs /tmp --cap-drop all" in "\n".join(LINES)


@dataclass
class Container:
    """A running app; ``inside`` is the start of a command in the same root, by the same user."""

    port: int
    process: subprocess.Popen
    inside: list[str]

    def run(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run([*self.inside, *command], capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("container")
    built = folder / "built"
    _install(built)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = folder / "start.sh"
    script.write_text(_script(folder / "root", built, port))
    log = (folder / "log.txt").open("w")
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-eu", str(script)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health", process, folder / "log.txt")
        enter = ["nsenter", "--mount", "--pid", "--target", str(_child(process))]
        yield Container(port, process, [*enter, *_by_nobody(folder / "root", port)])
    finally:
        os.kill(_child(process), signal.SIGKILL)  # the first process of its namespace: all others end with it
        process.wait(600)
        log.close()


def _child(process: subprocess.Popen) -> int:
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[0])


def _install(built: Path) -> None:
    """The RUN step for the package alone: its dependencies are those of this environment."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"]
    source = built.with_name("source")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith(("tests/", "docs/")) and (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    done = subprocess.run([*command, "--target", str(built), str(source)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the package cannot be built here: {done.stderr[-300:]}")


def _environment(port: int) -> dict[str, str]:
    variables = dict(part.split("=", 1) for line in steps("ENV") for part in shlex.split(line))
    return {**variables, "STREAMLIT_SERVER_ADDRESS": "127.0.0.1", "PYTHONPATH": SITE, "OMP_NUM_THREADS": "1"}


def _by_nobody(root: Path, port: int) -> list[str]:
    """The start of a command in the new root: the user, the variables, no rights to get others."""
    (user,) = steps("USER")
    uid, gid = user.split(":")
    given = [f"{name}={value}" for name, value in _environment(port).items()]
    rights = ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    inner = ["setpriv", f"--reuid={uid}", f"--regid={gid}", *rights, "env", "-i", *given, "PATH=/usr/bin:/bin"]
    return ["chroot", str(root), *inner]


def _script(root: Path, built: Path, port: int) -> str:
    """Mount an empty root, into it what is read only, and start the container's command."""
    shown = {Path(path).resolve() for path in (sys.base_prefix, sys.prefix, *sys.path) if Path(path).is_dir()}
    shown = {path for path in shown if not path.is_relative_to(ROOT)} | {Path(sys.prefix)}
    system = [Path(name) for name in ("/usr", "/bin", "/lib", "/lib64", "/etc") if Path(name).exists()]
    outermost = [path for path in sorted(shown) if shown.isdisjoint(path.parents)]
    lines = [f"mkdir -p {root}", f"mount -t tmpfs -o mode=755 tmpfs {root}", f"mkdir {root}/tmp {root}/proc {root}/dev"]
    lines += [f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp", f"mount -t proc proc {root}/proc"]
    lines += [f"mount --rbind /dev {root}/dev"]
    places = {**{path: path for path in [*system, *outermost]}, built: Path(SITE), ROOT / "models": Path("/data")}
    for source, target in places.items():
        lines += [f"mkdir -p {root}{target}", f"mount --bind {source} {root}{target}"]
        lines += [f"mount -o remount,bind,ro {root}{target}"]
    lines += [f"mount -o remount,ro {root}"]
    command = [sys.executable, *_command()[1:]]
    command[-1] = str(port)
    return "\n".join([*lines, "exec " + shlex.join([*_by_nobody(root, port), *command])])


def _command() -> list[str]:
    (command,) = steps("CMD")
    return json.loads(command)


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + STARTS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=STARTS):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(log.read_text())


@pytest.mark.slow
@needs_root
def test_it_serves_pages_and_maps_and_can_write_nothing(container: Container) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{container.port}/compare", timeout=600) as page:
        assert page.status == 200
    assert apart(asyncio.run, _maps(container.port)) > 10_000
    (check,) = steps("HEALTHCHECK")
    health = json.loads(check.removeprefix("CMD "))
    code = health[2].replace("8501", str(container.port))
    assert container.run(sys.executable, health[1], code).returncode == 0
    where = container.run(sys.executable, "-c", "import kdviz, os; print(kdviz.__file__, os.getuid(), os.getgid())")
    assert where.stdout.split() == [f"{SITE}/kdviz/__init__.py", "65534", "65534"]
    for path in ("/", SITE, "/data", "/etc", str(Path(sys.prefix)), "/usr"):
        refused = container.run("touch", f"{path}/written")
        assert refused.returncode != 0, path
        assert re.search("Read-only file system|Permission denied", refused.stderr)
    assert container.run("touch", "/tmp/written").returncode == 0
    status = container.run("grep", "-E", "CapBnd|CapEff|NoNewPrivs", "/proc/self/status").stdout.split()
    assert status[1::2] == ["0000000000000000", "0000000000000000", "1"]


async def _maps(port: int) -> int:
    """Compute maps that nobody has computed yet; bytes of the page."""
    async with Session(f"http://127.0.0.1:{port}", "compare") as session:
        await session.show({"sample": 7, "masks": 300, "seed": 41})
        await session.settle()
        return (await session.show({"sample": 7, "masks": 300, "seed": 41})).size
