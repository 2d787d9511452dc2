"""Sessions without a browser, which send the messages that a browser would send.

A browser draws for far longer than a server needs to answer; 25 browsers on one machine would measure themselves.
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
INITIALIZE, SESSION = 1, 6  # of NewSession; of what is in there
INTERVAL, AUTO_FRAGMENT = 1, 2
DONE = 0  # value of FINISHED for a whole run; others: a fragment's run, or a restart
_SECONDS = 60.0


@dataclass(frozen=True)
class PageRun:
    """A run of a page.

    Attributes:
        seconds: Seconds from the request to the last message.
        wait: Seconds to the first message: the time before the run began.
        size: Number of bytes received.
    """

    seconds: float
    wait: float
    size: int


class Session:
    """A person on one page. Fragments that ask for repeated runs get them, as in a browser.

    Args:
        address: Address of the server.
        page: The last part of the page's address.
    """

    def __init__(self, address: str, page: str):
        self._url = address.replace("http", "ws", 1) + "/_stcore/stream"
        self._page = page
        self._page_hash = ""
        self._query = ""
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._requested_fragments: set[str] = set()
        self._run: asyncio.Future[PageRun] | None = None
        self._started = self._first = 0.0
        self._size = 0

    async def __aenter__(self) -> Session:
        from websockets import Subprotocol  # pyright: ignore[reportMissingImports]
        from websockets.asyncio.client import connect  # pyright: ignore[reportMissingImports]

        protocol = Subprotocol("streamlit")
        self._socket = await connect(self._url, subprotocols=[protocol], max_size=None, compression=None)
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
        """Run the whole page with these query parameters.

        Raises:
            KdvizError: The run did not end within a minute.
        """
        self._query = urlencode(query)
        self._stop_timers()
        self._started, self._first, self._size = time.perf_counter(), 0.0, 0
        self._run = asyncio.get_running_loop().create_future()
        await self._socket.send(rerun(self._query, self._page, self._page_hash))
        try:
            return await asyncio.wait_for(self._run, _SECONDS)
        except TimeoutError as error:
            raise KdvizError(
                "The page {page} did not answer within {seconds:.0f} seconds.", page=self._page, seconds=_SECONDS
            ) from error

    async def settle(self, seconds: float = 2 * _SECONDS) -> None:
        """Wait until no computation runs for this session.

        Raises:
            KdvizError: It takes longer than ``seconds``.
        """
        limit = time.monotonic() + seconds
        while self.computing:
            if time.monotonic() > limit:
                raise KdvizError("A computation did not end within {seconds:.0f} seconds.", seconds=seconds)
            await asyncio.sleep(0.01)

    async def _listen(self) -> None:
        async for message in self._socket:
            if isinstance(message, bytes):
                self._receive(message)
        self._fail("The server closed a session.")

    def _fail(self, reason: str) -> None:
        if self._run is not None and not self._run.done():
            self._run.set_exception(KdvizError(reason))

    def _receive(self, message: bytes) -> None:
        now = time.perf_counter()
        self._first = self._first or now
        self._size += len(message)
        for number, value in fields(message):
            if number == NEW_SESSION:
                self._requested_fragments = set()
            elif number == NAVIGATION:  # a new session names the script, not the page
                self._page_hash = bytes(dict(fields(value))[SHOWN_PAGE_HASH]).decode()
            elif number == PAGE_NOT_FOUND:
                self._fail(f"The server has no page {self._page}.")
            elif number == AUTO_RERUN:
                self._start_timer(dict(fields(value)))
            elif number == FINISHED and value == DONE:
                self._finish(now)

    def _finish(self, now: float) -> None:
        for fragment in self._timers.keys() - self._requested_fragments:  # the whole page ran without requesting it
            self._timers.pop(fragment).cancel()
        if self._run is not None and not self._run.done():
            self._run.set_result(PageRun(now - self._started, self._first - self._started, self._size))

    def _start_timer(self, request: Mapping[int, Any]) -> None:
        fragment = bytes(request[AUTO_FRAGMENT]).decode()
        self._requested_fragments.add(fragment)
        (seconds,) = struct.unpack("<f", request[INTERVAL])
        if fragment not in self._timers:
            self._timers[fragment] = asyncio.create_task(self._rerun_fragment(fragment, seconds))

    def _stop_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers = {}

    async def _rerun_fragment(self, fragment: str, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._socket.send(rerun(self._query, self._page, self._page_hash, fragment))


# messages -------------------------------------------------------------------------------------------------------------


def session_of(message: bytes) -> str:
    """The identifier of the session that a first ForwardMsg names; empty if it names none."""
    new_session = dict(fields(message)).get(NEW_SESSION, b"")
    return bytes(dict(fields(dict(fields(new_session)).get(INITIALIZE, b""))).get(SESSION, b"")).decode()


def rerun(query: str, page: str, page_hash: str = "", fragment: str = "") -> bytes:
    """A BackMsg that requests a page, or one fragment of it."""
    state = field(QUERY, query) + (field(PAGE_HASH, page_hash) if page_hash else field(PAGE_NAME, page))
    if fragment:
        state += field(FRAGMENT, fragment) + field(IS_AUTO, 1)
    return field(RERUN, state)


def field(number: int, value: str | bytes | int) -> bytes:
    """A field of a message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def fields(message: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field; the value is an integer or bytes.

    Raises:
        ValueError: The message is no protocol buffer.
    """
    view = memoryview(message)
    position = 0
    while position < len(view):
        key, position = _read_varint(view, position)
        wire_type = key & 7
        if wire_type == 0:
            value, position = _read_varint(view, position)
            yield key >> 3, value
            continue
        if wire_type == 2:
            size, position = _read_varint(view, position)
        else:
            size = {1: 8, 5: 4}.get(wire_type, -1)
        if size < 0 or position + size > len(view):
            raise ValueError("no protocol buffer")
        yield key >> 3, view[position : position + size]
        position += size


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise ValueError("no protocol buffer")
