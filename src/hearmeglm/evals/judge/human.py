"""A blinded sheet for people: CSV and one HTML page that works without a network, and what they and the judge agree on.

Replies are shuffled and carry a number, not a model; which is which stays in a key file that raters do not get.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...files import read_json, write_json, write_text
from .agreement import alpha, weighted_kappa
from .rubric import ranges, render
from .scoring import Verdict
from .sources import Judged

PAGE = Path(__file__).parent / "sheet.html"


def write_sheet(items: Sequence[Judged], folder: Path, *, seed: int) -> dict[str, Path]:
    """Write `sheet.csv`, `sheet.html` (for raters) and `key.json` (not for raters)."""
    order = list(items)
    random.Random(seed).shuffle(order)
    rows = [{"number": n, "history": render(i.history), "reply": i.reply} for n, i in enumerate(order, 1)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "history", "reply", *ranges(), "comment"])
    writer.writerows([r["number"], r["history"], r["reply"], *[""] * len(ranges()), ""] for r in rows)
    paths = {"csv": folder / "sheet.csv", "html": folder / "sheet.html", "key": folder / "key.json"}
    write_text(paths["csv"], "\ufeff" + text.getvalue())  # the mark makes Excel read it as UTF-8
    data = json.dumps({"rows": rows, "criteria": ranges()}, ensure_ascii=False).replace("</", "<\\/")
    write_text(paths["html"], PAGE.read_text(encoding="utf-8").replace("/*DATA*/null", data))
    write_json(paths["key"], {str(n): {"id": i.id, "model": i.model} for n, i in enumerate(order, 1)})
    return paths


def read_sheet(sheet: Path, key: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Points by (id, model) and criterion from a filled sheet; empty cells are left out.

    Raises:
        DataError: not such a sheet, an unknown number, or points out of range (the row is named).
    """
    names = read_json(key)
    out: dict[tuple[str, str], dict[str, float]] = {}
    try:
        with open(sheet, encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            missing = {"number", *ranges()} - set(reader.fieldnames or ())
            if missing:
                raise DataError(
                    f"expected the columns number, {', '.join(ranges())}; {', '.join(sorted(missing))} missing",
                    where=str(sheet),
                )
            for line, row in enumerate(reader, 2):
                where = f"{sheet}:{line}"
                who = names.get(str(row["number"]).strip())
                if who is None:
                    raise DataError(f"expected a number of the sheet, found {row['number']!r}", where=where)
                points = {c: _points(row[c], high, where) for c, high in ranges().items() if (row[c] or "").strip()}
                if points:
                    out[who["id"], who["model"]] = points
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"expected a filled sheet as UTF-8 CSV, found {err}", where=str(sheet)) from None
    return out


def _points(text: str, high: int, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"expected points from 0 to {high}, found {text!r}", where=where) from None
    if not 0 <= value <= high:
        raise DataError(f"expected points from 0 to {high}, found {text!r}", where=where)
    return value


def human_agreement(points: dict[tuple[str, str], dict[str, float]], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """For each judge and criterion: n, exact agreement, quadratic kappa and Krippendorff's alpha with the human points."""
    out: dict[str, Any] = {}
    for judge in dict.fromkeys(v.judge for v in verdicts):
        said = {(v.id, v.model): v.scores for v in verdicts if v.judge == judge and v.sample == 0 and v.scores}
        cells = {}
        for criterion in ranges():
            both = [(p[criterion], said[u][criterion]) for u, p in points.items() if criterion in p and u in said]
            people, machine = [a for a, _ in both], [b for _, b in both]
            cells[criterion] = {
                "n": len(both),
                "exact": round(sum(a == b for a, b in both) / len(both), 4) if both else None,
                "kappa": weighted_kappa(people, machine, sorted({*people, *machine})),
                "alpha": alpha([people, machine]),
            }
        out[judge] = cells
    return out
