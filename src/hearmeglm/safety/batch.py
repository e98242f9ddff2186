"""The guard over a file: `hearme guard check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import read_jsonl, write_jsonl
from .guard import Guard, guard

TOGETHER = 128
"""Lines that the model-based layer reads at once."""


def check_file(source: Path, out: Path, the_guard: Guard | None = None) -> dict[str, Any]:
    """Assess every line of a JSON Lines file and write the answers atomically, in the same order.

    Args:
        source: lines {"id", "text": str} or {"id", "turns": [str]}; further keys are left alone.
        out: lines {"id", "risk", "crisis", "kind", "level", "because"}.

    Returns:
        n, risk, crisis (counts) and closed (why the guard could not work, or empty), without_model (why the model-based
        layer could not be used, or empty).

    Raises:
        DataError: a line of another shape (named), or an unreadable file.
    """
    judge = the_guard or guard()
    counts: Counter[str] = Counter()

    def talks() -> Iterator[tuple[Any, list[str]]]:
        for number, row in read_jsonl(source):
            turns = row.get("turns", [row["text"]] if "text" in row else None)
            if "id" not in row or not isinstance(turns, list) or not all(isinstance(t, str) for t in turns):
                raise DataError(
                    'expected {"id", "text"} or {"id", "turns": [strings]}, found another shape',
                    where=f"{source}:{number}",
                )
            yield row["id"], turns

    def rows() -> Iterator[dict[str, Any]]:
        source_rows = talks()
        while part := list(islice(source_rows, TOGETHER)):
            judge.prepare(turns for _, turns in part)
            for name, turns in part:
                found = judge.assess(turns)
                counts.update(n=1, risk=found.risk, crisis=found.crisis)
                yield {"id": name, **found.to_json()}

    write_jsonl(out, rows())
    return {
        "n": counts["n"],
        "risk": counts["risk"],
        "crisis": counts["crisis"],
        "closed": judge.broken,
        "without_model": judge.listener.why if judge.listener else "",
    }
