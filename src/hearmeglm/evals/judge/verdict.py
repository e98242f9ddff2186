"""Reading a judge's answer. What cannot be read is said to be unreadable and why; it never becomes a number."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .rubric import ranges

_LIST = re.compile(r"\[([^\[\]]*)\]")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


class Unreadable(ValueError):
    """The answer holds no verdict within the rules; the text says which rule."""


def parse_list(text: str) -> dict[str, float]:
    """The last `[C, P, A, S]` of an answer.

    Raises:
        Unreadable: no list, not exactly four numbers, or one out of its range.
    """
    lists = [m.group(1) for m in _LIST.finditer(text)]
    numeric = [body for body in lists if _NUMBER.search(body)]
    if not numeric:
        raise Unreadable("no list of numbers")
    parts = [p.strip() for p in re.split(r"[,，、]", numeric[-1])]
    criteria = ranges()
    if len(parts) != len(criteria):
        raise Unreadable(f"{len(parts)} numbers for {len(criteria)} criteria")
    if not all(_NUMBER.fullmatch(p) for p in parts):
        raise Unreadable("something other than numbers in the list")
    return _in_range({name: float(p) for name, p in zip(criteria, parts, strict=True)})


def parse_strict(text: str) -> dict[str, float]:
    """The last JSON object with the four criteria, each a rationale and a whole number.

    Raises:
        Unreadable: no such object, a missing or unknown criterion, no rationale, not a whole number, or out of range.
    """
    found = _last_object(text, "comprehensiveness")
    criteria = ranges()
    if set(found) != set(criteria):
        raise Unreadable(f"criteria {', '.join(sorted(map(str, found)))} instead of {', '.join(sorted(criteria))}")
    scores: dict[str, float] = {}
    for name in criteria:
        part = found[name]
        if not isinstance(part, dict) or not str(part.get("rationale") or "").strip():
            raise Unreadable(f"no rationale for {name}")
        score = part.get("score")
        if isinstance(score, bool) or not isinstance(score, int):
            raise Unreadable(f"{name}: not a whole number")
        scores[name] = float(score)
    return _in_range(scores)


def parse_winner(text: str) -> str:
    """ "1", "2" or "tie" of a pairwise answer; raises Unreadable otherwise."""
    winner = str(_last_object(text, "winner").get("winner")).strip().lower()
    if winner not in {"1", "2", "tie"}:
        raise Unreadable(f"winner {winner[:20]!r}")
    return winner


PARSERS = {"cpsycoun": parse_list, "strict": parse_strict}
"""Reader of each scoring mode."""


def _last_object(text: str, key: str) -> dict[str, Any]:
    decoder, found, at = json.JSONDecoder(), None, 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        if isinstance(value, dict) and key in value:
            found = value
        at = end
    if found is None:
        raise Unreadable("no JSON verdict")
    return found


def _in_range(scores: Mapping[str, float]) -> dict[str, float]:
    for name, high in ranges().items():
        if not 0 <= scores[name] <= high:
            raise Unreadable(f"{name} {scores[name]:g} is not within 0 to {high}")
    return dict(scores)
