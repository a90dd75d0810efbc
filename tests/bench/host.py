"""A warm process that makes conversions on order, in this interpreter: ``python -m tests.bench.host``.

Takes one JSON order a line and answers each with its wall and processor time, of all threads.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.bench.measuring import Cost
from tests.bench.rows import Skipped


class Host:
    """The caller's side: a host process to order from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def order(self, what: str, **words: Any) -> None:
        """Begin; :meth:`result` ends it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"what": what} | words, default=str) + "\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the host process died")
        result: dict[str, Any] = json.loads(line)
        if "skipped" in result:
            raise Skipped(result["skipped"])
        return result

    def make(self, what: str, **words: Any) -> Cost:
        self.order(what, **words)
        result = self.result()
        return Cost(wall=result["wall"], cpu=result["cpu"])


Act = Callable[[dict[str, Any], Path], None]


def engine(order: dict[str, Any], out: Path) -> None:
    """One call of a convertd engine, as the sandbox's child would make it."""
    from convertd.engines.base import Limits
    from tests.support import engines

    module = importlib.import_module(f"convertd.engines.{order['engine']}")
    limits = Limits(threads=order.get("threads", 0))
    route = (order["operation"], order["source"], order["target"])
    made = engines.run(module.ENGINE, *route, Path(order["path"]), out, limits=limits, **order["options"])
    if order.get("keep"):
        made[0][0].replace(order["keep"])


def pillow(order: dict[str, Any], out: Path) -> None:
    """The bare library: open, decode, encode with the words of convertd's default."""
    from PIL import Image

    for _ in range(order.get("times", 1)):
        with Image.open(order["path"]) as image:
            image.save(out / "output.webp", quality=80, method=4)


def pillow_for(order: dict[str, Any], out: Path) -> dict[str, Any]:
    """As many as fit in ``seconds``."""
    until, count = time.perf_counter() + order["seconds"], 0
    while time.perf_counter() < until:
        pillow(order, out)
        count += 1
    return {"count": count}


def vips(order: dict[str, Any], out: Path) -> None:
    """libvips: to WebP or JPEG at the source's size, or shrunk to ``width``."""
    try:
        import pyvips  # type: ignore[import-not-found, unused-ignore]
    except (ImportError, OSError):
        raise Skipped("pyvips is not installed (pip install 'pyvips[binary]')") from None
    if width := order.get("width"):
        image = pyvips.Image.thumbnail(order["path"], width, height=10_000_000, size="down")
    else:
        image = pyvips.Image.new_from_file(order["path"], access="sequential")
    image.write_to_file(str(out / f"output.{order['target']}"), **order["options"])


ACTS: dict[str, Callable[[dict[str, Any], Path], Any]] = {
    act.__name__: act for act in (engine, pillow, pillow_for, vips)
}


@contextmanager
def _output() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="convertd-bench-") as out:
        yield Path(out)


def _obey(order: dict[str, Any]) -> dict[str, Any]:
    with _output() as out:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            more = ACTS[order["what"]](order, out)
        except Skipped as reason:
            return {"skipped": str(reason)}
        cost = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        cost["bytes"] = sum(path.stat().st_size for path in out.iterdir())
        return cost | (more or {})


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_obey(json.loads(line))), flush=True)
