"""``python -m tests.bench [NAME …]``: measure, print a table, write bench-results.json."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

from tests.bench import acceptance, assets, media, office, pictures, polls, report, stored, transfer  # noqa: F401
from tests.bench.rows import ROWS, Bench, Line, Row, Skipped

RESULTS = Path("bench-results.json")


def main(arguments: list[str]) -> int:
    """Exit 1 when a row could not be measured because of an error; a bar that is not met is no error."""
    words = _parser().parse_args(arguments)
    if words.list:
        for chosen in ROWS.values():
            print(f"{chosen.name:16} {chosen.summary}")
        return 0
    bench = Bench(rounds=1 if words.quick else words.rounds, quick=words.quick, assets=assets.directory())
    results = []
    for name in words.names or ROWS:
        print(f"… {name}", file=sys.stderr, flush=True)
        results.append(_measured(ROWS[name], bench))
    print(report.table(results))
    RESULTS.write_text(report.document(results, bench))
    print(f"\nwritten to {RESULTS}")
    return 1 if any(result.error for result in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Speed and memory, against peers."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*ROWS, []], help="rows; all if none")
    parser.add_argument("--list", action="store_true", help="say what rows there are")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="measure each side N times (3)")
    parser.add_argument("--quick", action="store_true", help="once and small: shows that it works, no more")
    return parser


def _measured(chosen: Row, bench: Bench) -> report.Result:
    began = time.monotonic()
    lines: list[Line] = []
    skipped = error = ""
    try:
        lines = chosen.measure(bench)
    except Skipped as reason:
        skipped = str(reason)
    except Exception as fault:
        traceback.print_exc()
        error = f"{type(fault).__name__}: {fault}"
    return report.Result(
        row=chosen, lines=lines, skipped=skipped, error=error, seconds=time.monotonic() - began
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
