"""A web server with files for convertd to fetch."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self
from urllib.parse import quote, unquote


class Origin:
    """Serves ``files`` by name on a port of 127.0.0.1, in a thread of its own, and counts its visitors.

    What is sent to it is answered with ``posted``.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.posted = b""
        self.visits: list[str] = []
        origin = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = unquote(self.path[1:])
                origin.visits.append(name)
                body = origin.files.get(name)
                self._answer(404 if body is None else 200, body or b"")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(200, origin.posted)

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                """Not into the tests' output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self._server.server_port}"
        """Its host and port, for an operator to list under ``outbound.allow``."""
        self._thread = Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, name: str, body: bytes | None = None) -> str:
        """The address of a file, made there with this content."""
        if body is not None:
            self.files[name] = body
        return f"http://{self.place}/{quote(name)}"
