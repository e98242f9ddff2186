"""`hearme score overlap`: score a file of `{"predict", "label"}` lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..files import read_jsonl
from .overlap import METRICS, TOKENISATION, averages, score_pairs

if TYPE_CHECKING:
    from rich.table import Table


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The (prediction, reference) pairs of a JSON Lines file.

    Raises:
        DataError: missing or broken file, no line, a line without the two texts.
    """
    pairs = []
    for number, row in read_jsonl(path):
        for key in ("predict", "label"):
            if not isinstance(row.get(key), str):
                found = "nothing" if key not in row else type(row[key]).__name__
                raise DataError(f'expected a text under "{key}", found {found}', where=f"{path}:{number}")
        pairs.append((row["predict"], row["label"]))
    if not pairs:
        raise DataError('expected lines of {"predict", "label"}, found an empty file', where=str(path))
    return pairs


def score_file(path: Path, *, extended: bool = False) -> dict[str, Any]:
    """Averages and per-pair values.

    Returns:
        `{"averages": {metric: percent}, "pairs": [{metric: percent}], "tokenisation": {metric: text}}`, and with
        `extended` the language-aware numbers under `"extended"`.
    """
    pairs = read_pairs(path)
    rows = score_pairs(pairs)
    result: dict[str, Any] = {"averages": averages(rows), "pairs": rows, "n": len(rows), "tokenisation": TOKENISATION}
    if extended:
        from .overlap_more import score_more

        result["extended"] = score_more(pairs)
    return result


def table(result: dict[str, Any]) -> Table:
    """The averages as a table, the tokenisation beside each number."""
    from rich.table import Table

    out = Table(title=f"Overlap 重合度 (n = {result['n']})")
    for head in ("metric 指标", "mean 均值 (%)", "tokenisation 切分"):
        out.add_column(head, overflow="fold")
    for metric in METRICS:
        out.add_row(metric, f"{result['averages'][metric]:.4f}", TOKENISATION[metric])
    for row in result.get("extended", {}).get("summary", []):
        out.add_row(f"{row['metric']} [{row['lang']}, n={row['n']}]", f"{row['value']:.4f}", row["tokenisation"])
    return out
