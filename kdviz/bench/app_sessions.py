"""People who only look: sessions without a browser, which say what a browser would say.

A browser draws for far longer than a server needs to answer; 25 of them on one machine would measure themselves.
Streamlit's messages are protocol buffers; the few fields needed here are read and written by hand, since only the
pages import streamlit.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from kdviz.core.errors import KdvizError

# Fields of Streamlit's messages: BackMsg, ClientState, ForwardMsg, Navigation, AutoRerun.
RERUN = 11
QUERY, PAGE_HASH, PAGE_NAME, FRAGMENT, IS_AUTO = 1, 3, 4, 5, 6
NEW_SESSION, FINISHED, PAGE_NOT_FOUND, AUTO_RERUN, NAVIGATION = 4, 6, 15, 21, 23
SHOWN_PAGE_HASH = 4
INTERVAL, AUTO_FRAGMENT = 1, 2
DONE = 0  # of FINISHED: to its end; others: a fragment's, or begun again
_SECONDS = 60.0


@dataclass(frozen=True)
class PageRun:
    """One run of a page.

    Attributes:
        seconds: From the request to the last message.
        wait: To the first one: how long it waited to be begun.
        size: Bytes that came.
    """

    seconds: float
    wait: float
    size: int


class Session:
    """A person on one page. Fragments that ask to be run again and again are, as in a browser.

    Args:
        address: Of the server.
        page: The last part of the page's address.
    """

    def __init__(self, address: str, page: str):
        self._url = address.replace("http", "ws", 1) + "/_stcore/stream"
        self._page = page
        self._page_hash = ""
        self._query = ""
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._asked_again: set[str] = set()
        self._run: asyncio.Future[PageRun] | None = None
        self._begun = self._first = 0.0
        self._size = 0

    async def __aenter__(self) -> Session:
        from websockets import Subprotocol  # pyright: ignore[reportMissingImports]
        from websockets.asyncio.client import connect  # pyright: ignore[reportMissingImports]

        spoken = Subprotocol("streamlit")
        self._socket = await connect(self._url, subprotocols=[spoken], max_size=None, compression=None)
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._stop_timers()
        self._listener.cancel()
        with suppress(asyncio.CancelledError):
            await self._listener
        await self._socket.close()

    @property
    def computing(self) -> bool:
        """Whether the page still asks to be refreshed."""
        return bool(self._timers)

    async def show(self, query: Mapping[str, Any]) -> PageRun:
        """Run the whole page for a view of it.

        Raises:
            KdvizError: It did not end within a minute.
        """
        self._query = urlencode(query)
        self._stop_timers()
        self._begun, self._first, self._size = time.perf_counter(), 0.0, 0
        self._run = asyncio.get_running_loop().create_future()
        await self._socket.send(rerun(self._query, self._page, self._page_hash))
        try:
            return await asyncio.wait_for(self._run, _SECONDS)
        except TimeoutError as error:
            raise KdvizError(f"The page {self._page} did not answer within {_SECONDS:.0f} seconds.") from error

    async def settle(self, seconds: float = 2 * _SECONDS) -> None:
        """Wait until nothing is computed for this session.

        Raises:
            KdvizError: It takes longer than so many seconds.
        """
        limit = time.monotonic() + seconds
        while self.computing:
            if time.monotonic() > limit:
                raise KdvizError(f"A computation did not end within {seconds:.0f} seconds.")
            await asyncio.sleep(0.01)

    async def _listen(self) -> None:
        async for message in self._socket:
            if isinstance(message, bytes):
                self._take(message)
        self._fail("The server closed a session.")

    def _fail(self, why: str) -> None:
        if self._run is not None and not self._run.done():
            self._run.set_exception(KdvizError(why))

    def _take(self, message: bytes) -> None:
        now = time.perf_counter()
        self._first = self._first or now
        self._size += len(message)
        for number, value in fields(message):
            if number == NEW_SESSION:
                self._asked_again = set()
            elif number == NAVIGATION:  # a new session names the script, not the page
                self._page_hash = bytes(dict(fields(value))[SHOWN_PAGE_HASH]).decode()
            elif number == PAGE_NOT_FOUND:
                self._fail(f"The server has no page {self._page}.")
            elif number == AUTO_RERUN:
                self._start_timer(dict(fields(value)))
            elif number == FINISHED and value == DONE:
                self._finished(now)

    def _finished(self, now: float) -> None:
        for fragment in self._timers.keys() - self._asked_again:  # the whole page ran and did not ask again
            self._timers.pop(fragment).cancel()
        if self._run is not None and not self._run.done():
            self._run.set_result(PageRun(now - self._begun, self._first - self._begun, self._size))

    def _start_timer(self, wanted: Mapping[int, Any]) -> None:
        fragment = bytes(wanted[AUTO_FRAGMENT]).decode()
        self._asked_again.add(fragment)
        (seconds,) = struct.unpack("<f", wanted[INTERVAL])
        if fragment not in self._timers:
            self._timers[fragment] = asyncio.create_task(self._again(fragment, seconds))

    def _stop_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers = {}

    async def _again(self, fragment: str, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._socket.send(rerun(self._query, self._page, self._page_hash, fragment))


# messages -------------------------------------------------------------------------------------------------------------


def rerun(query: str, page: str, page_hash: str = "", fragment: str = "") -> bytes:
    """A BackMsg that asks for a page, or for one fragment of it."""
    state = field(QUERY, query) + (field(PAGE_HASH, page_hash) if page_hash else field(PAGE_NAME, page))
    if fragment:
        state += field(FRAGMENT, fragment) + field(IS_AUTO, 1)
    return field(RERUN, state)


def field(number: int, value: str | bytes | int) -> bytes:
    """One field of a message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def fields(message: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field: a whole number, or bytes.

    Raises:
        ValueError: It is no protocol buffer.
    """
    rest = memoryview(message)
    at = 0
    while at < len(rest):
        key, at = _read_varint(rest, at)
        kind = key & 7
        if kind == 0:
            value, at = _read_varint(rest, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _read_varint(rest, at)
        else:
            size = {1: 8, 5: 4}.get(kind, -1)
        if size < 0 or at + size > len(rest):
            raise ValueError("no protocol buffer")
        yield key >> 3, rest[at : at + size]
        at += size


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("no protocol buffer")
