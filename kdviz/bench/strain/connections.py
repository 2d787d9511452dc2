"""What strains the server while people use it: contexts that last as long as the strain."""

from __future__ import annotations

import asyncio
import base64
import secrets
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from kdviz.bench.app_load import one_job
from kdviz.bench.app_server import Server
from kdviz.bench.app_sessions import Session, rerun, session_of
from kdviz.core.errors import KdvizError

_IDLE, _SLOW, _STALLED, _JOBS = 300, 20, 20, 5
_UPLOAD = 10_000_000  # bytes that a stalled upload announces


@asynccontextmanager
async def _idle(server: Server) -> AsyncIterator[None]:
    """Connections that say nothing."""
    async with AsyncExitStack() as stack:
        for _ in range(_IDLE):
            await stack.enter_async_context(Session(server.address, "compare"))
        yield


@asynccontextmanager
async def _slow(server: Server) -> AsyncIterator[None]:
    """Clients that ask for the page and read a byte of it a second."""
    tasks = [asyncio.create_task(_read_slowly(server)) for _ in range(_SLOW)]
    await asyncio.sleep(1)
    try:
        yield
    finally:
        await _end(tasks)


async def _read_slowly(server: Server) -> None:
    reader, writer = await asyncio.open_connection(*_place(server), limit=1)
    try:
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        head = f"GET /_stcore/stream HTTP/1.1\r\nHost: {urlsplit(server.address).netloc}\r\n{upgrade}"
        writer.write(f"{head}Sec-WebSocket-Key: {key}\r\n\r\n".encode() + _frame(rerun("sample=3", "compare")))
        while await reader.read(1):
            await asyncio.sleep(1)
    finally:
        writer.close()


def _frame(message: bytes) -> bytes:
    """A message of less than 126 bytes as a client's frame (RFC 6455, section 5.2), with a mask of zeros."""
    return bytes([0x82, 0x80 | len(message)]) + bytes(4) + message


@asynccontextmanager
async def _stalled(server: Server) -> AsyncIterator[None]:
    """Uploads of 10 MB that send a thousand bytes and then nothing more."""
    from websockets.asyncio.client import connect  # pyright: ignore[reportMissingImports]

    cookie, token = await asyncio.to_thread(_cookies, server.address)
    options: Any = {"additional_headers": {"Cookie": cookie}, "max_size": None, "compression": None}
    address = server.address.replace("http", "ws", 1) + "/_stcore/stream"
    options["subprotocols"] = ["streamlit", token]
    async with connect(address, **options) as socket:
        await socket.send(rerun("", "compare"))
        session = session_of(await socket.recv(decode=False))
        head = f"PUT /_stcore/upload_file/{session}/%s HTTP/1.1\r\nHost: {urlsplit(server.address).netloc}\r\n"
        head += f"Cookie: {cookie}\r\nX-Xsrftoken: {token}\r\nContent-Length: {_UPLOAD}\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        tasks = [asyncio.create_task(_stall(server, head % number)) for number in range(_STALLED)]
        await asyncio.sleep(1)
        try:
            if any(task.done() for task in tasks):
                raise KdvizError("The server refused uploads before they could stall.")
            yield
        finally:
            await _end(tasks)


async def _stall(server: Server, head: str) -> None:
    reader, writer = await asyncio.open_connection(*_place(server))
    try:
        part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="large.zip"\r\n\r\n'
        writer.write(head.encode() + part + bytes(1000))
        await reader.read()
    finally:
        writer.close()


def _cookies(address: str) -> tuple[str, str]:
    """The cookies of a browser that has opened the page, as one header, and the token among them."""
    found = {}
    for path in ("", "/_stcore/health"):
        with urllib.request.urlopen(address + path, timeout=30) as answer:
            for line in answer.headers.get_all("Set-Cookie", []):
                name, _, value = line.partition(";")[0].partition("=")
                found[name] = value
    return "; ".join(f"{name}={value}" for name, value in found.items()), found["_streamlit_xsrf"]


@asynccontextmanager
async def _heavy(server: Server) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for number in range(_JOBS):
            await stack.enter_async_context(one_job(server, 100_000 * number))
        yield


@asynccontextmanager
async def _nothing(server: Server) -> AsyncIterator[None]:
    yield


STRAINS = {
    "none": ("nothing else", _nothing),
    "idle": (f"{_IDLE} idle connections", _idle),
    "slow": (f"{_SLOW} clients that read a byte a second", _slow),
    "stalled": (f"{_STALLED} uploads that stall", _stalled),
    "heavy": (f"{_JOBS} jobs without end", _heavy),
}
"""Key -> what it is, and a context during which it lasts."""


def _place(server: Server) -> tuple[str, int]:
    parts = urlsplit(server.address)
    return str(parts.hostname), int(parts.port or 80)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
