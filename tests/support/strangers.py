"""A browser without its pages: it asks a server for addresses and connects to it, with cookies as a page gives them."""

from __future__ import annotations

import http.client
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from kdviz.bench.app_sessions import DONE, FINISHED, fields, rerun, session_of

TYPE = "multipart/form-data; boundary=x"
COOKIES = {"kdviz-browser", "_streamlit_xsrf"}


@dataclass
class Stranger:
    """Another browser: it has cookies of its own, as a page gives them."""

    server: str
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.server).netloc, timeout=600)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        xsrf = {"X-Xsrftoken": self.cookies.get("_streamlit_xsrf", "")}
        connection.request(method, path, body, {"Cookie": cookies, **xsrf, **headers})
        answer = connection.getresponse()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]
        return answer.status, answer.read()

    def send(self, path: str, name: str, content: bytes) -> int:
        head = f'--x\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
        return self.ask(path, "PUT", head + content + b"\r\n--x--\r\n", **{"Content-Type": TYPE})[0]

    def connect(self, session: str, query: str = "") -> tuple[str, bytes]:
        """Open the page as if the connection of a session had been lost: the session that it gets, and all it reads."""
        from websockets.sync.client import connect

        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        protocols: Any = ["streamlit", self.cookies["_streamlit_xsrf"], *filter(None, [session])]
        address = self.server.replace("http", "ws", 1) + "/_stcore/stream"
        options: Any = {"additional_headers": {"Cookie": cookies}, "origin": self.server, "max_size": None}
        read = []
        with connect(address, subprotocols=protocols, **options) as socket:
            socket.send(rerun(query, "compare"))
            while not read or not _ends_the_run(read[-1]):
                read.append(bytes(socket.recv(timeout=600)))
        return next(filter(None, map(session_of, read))), b"".join(read)


def _ends_the_run(message: bytes) -> bool:
    return (FINISHED, DONE) in list(fields(message))


def arrived(server: str) -> Stranger:
    """A stranger who has opened a page, as a browser does."""
    stranger = Stranger(server)
    for path in ("/compare", "/_stcore/health"):
        assert stranger.ask(path)[0] == 200
    assert stranger.cookies.keys() == COOKIES
    return stranger
