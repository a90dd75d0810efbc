"""Load generators. Each runs in a process of its own: ``python -m tests.bench.load``, told by JSON.

They speak HTTP over bare sockets, at a fraction of what the server spends on a request.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.measuring import percentile

_CHUNK = 1024 * 1024


class Connection:
    """One client: sends the request again as soon as the reply is complete."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._unsent = memoryview(b"")
        self._reply = b""
        self._length = 0
        self.began = 0.0

    def begin(self) -> bool:
        """Send a request; whether all of it went."""
        self._reply, self._length = b"", 0
        self._unsent = memoryview(self._request)
        self.began = time.perf_counter()
        return self.send()

    def send(self) -> bool:
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        return True

    def receive(self) -> bytes | None:
        """The reply, once it is whole."""
        chunk = self.socket.recv(_CHUNK)
        if not chunk:
            raise ConnectionError(f"the server closed the connection: {self._reply[:200]!r}")
        self._reply += chunk
        if not self._length:
            end = self._reply.find(b"\r\n\r\n")
            if end < 0:
                return None
            at = self._reply.find(b"Content-Length: ", 0, end) + 16
            body = int(self._reply[at : self._reply.index(b"\r\n", at)]) if at >= 16 else 0
            self._length = end + 4 + body
        return self._reply if len(self._reply) >= self._length else None


def repeat(spec: dict[str, Any]) -> dict[str, Any]:
    """``clients`` connections repeat ``request`` for ``seconds`` or ``count`` times all together.

    A reply without the text ``expect`` is an error, and the first such is told.
    """
    request, expect = spec["request"].encode("latin-1"), spec["expect"].encode()
    if body := spec.get("body"):
        request += Path(body).read_bytes()
    clients = [Connection((spec["host"], spec["port"]), request) for _ in range(spec["clients"])]
    seconds, count = spec.get("seconds", 600.0), spec.get("count", 1 << 60)
    selector = selectors.EpollSelector()
    latencies: list[float] = []
    faults: list[str] = []
    began = time.perf_counter()
    for client in clients[:count]:
        whole = client.begin()
        events = selectors.EVENT_READ | (0 if whole else selectors.EVENT_WRITE)
        selector.register(client.socket, events, client)
    running = started = min(len(clients), count)
    while running:
        for key, events in selector.select(timeout=60):
            client = key.data
            if events & selectors.EVENT_WRITE and client.send():
                selector.modify(client.socket, selectors.EVENT_READ, client)
            if not events & selectors.EVENT_READ or (reply := client.receive()) is None:
                continue
            now = time.perf_counter()
            latencies.append(now - client.began)
            if expect not in reply:
                faults.append(reply[:600].decode("latin-1"))
            if started >= count or now - began >= seconds:
                selector.unregister(client.socket)
                running -= 1
                continue
            started += 1
            if not client.begin():
                selector.modify(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
    wall = time.perf_counter() - began
    return {
        "replies": len(latencies),
        "faults": len(faults),
        "first_fault": faults[0] if faults else "",
        "wall": wall,
        "rate": len(latencies) / wall,
        "p50": percentile(latencies, 0.5),
        "p99": percentile(latencies, 0.99),
    }


def upload(spec: dict[str, Any]) -> dict[str, Any]:
    """Send the file ``path`` between ``head`` (with the request's headers) and ``tail``; read the reply."""
    with (
        socket.create_connection((spec["host"], spec["port"])) as connection,
        Path(spec["path"]).open("rb") as file,
    ):
        began = time.perf_counter()
        connection.sendall(spec["head"].encode("latin-1"))
        offset, size = 0, os.fstat(file.fileno()).st_size
        while offset < size:
            offset += os.sendfile(connection.fileno(), file.fileno(), offset, size - offset)
        connection.sendall(spec["tail"].encode("latin-1"))
        reply = connection.recv(_CHUNK)
        wall = time.perf_counter() - began
    return {"wall": wall, "status": int(reply[9:12]), "reply": reply[:600].decode("latin-1")}


def download(spec: dict[str, Any]) -> dict[str, Any]:
    """Read the reply to ``request`` to its end and throw it away."""
    with socket.create_connection((spec["host"], spec["port"])) as connection:
        buffer = bytearray(_CHUNK)
        began = time.perf_counter()
        connection.sendall(spec["request"].encode("latin-1"))
        status, total = 0, 0
        while count := connection.recv_into(buffer):
            status = status or int(buffer[9:12])
            total += count
        wall = time.perf_counter() - began
    return {"wall": wall, "status": status, "bytes": total}


def hold(spec: dict[str, Any]) -> dict[str, Any]:
    """Open ``clients`` connections, send ``request`` on each, say so on standard output, wait for a line."""
    request = spec["request"].encode("latin-1")
    clients = [Connection((spec["host"], spec["port"]), request) for _ in range(spec["clients"])]
    for client in clients:
        client.begin()
    print("held", flush=True)
    sys.stdin.readline()
    return {"clients": len(clients)}


KINDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    kind.__name__: kind for kind in (repeat, upload, download, hold)
}


def start(kind: str, **spec: Any) -> subprocess.Popen[str]:
    """A load generator that has been told what to do; for :func:`finish`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.load", kind],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(spec) + "\n")
    process.stdin.flush()
    return process


def finish(process: subprocess.Popen[str], seconds: float = 300.0) -> dict[str, Any]:
    """What it measured; raises when replies were not as expected."""
    try:
        output, _ = process.communicate("\n", timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    if result.get("faults"):
        raise RuntimeError(f"{result['faults']} of {result['replies']} replies: {result['first_fault']}")
    return result


def generate(kind: str, **spec: Any) -> dict[str, Any]:
    """Run a load generator to its end."""
    return finish(start(kind, **spec))


def answers(host: str, port: int) -> bool:
    """Whether somebody listens."""
    try:
        socket.create_connection((host, port)).close()
    except ConnectionRefusedError:
        return False
    return True


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request(method: str, path: str, host: str, port: int, **headers: Any) -> str:
    """The head of an HTTP request; header names with underscores for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}:{port}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines) + "\r\n\r\n"


if __name__ == "__main__":
    print(json.dumps(KINDS[sys.argv[1]](json.loads(sys.stdin.readline()))))
