"""Counts and lengths, as they go into `stats.json`, the audit and the report."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ..types import Dialogue

HAN = re.compile("[\u4e00-\u9fff]")
LATIN = re.compile("[A-Za-z]")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def language(dialogue: Dialogue) -> str:
    """`zh`, `en` or `other`, by the letters of what was said."""
    if dialogue.meta.get("lang") in ("zh", "en"):
        return dialogue.meta["lang"]
    text = "".join(m.content for m in dialogue.messages if m.role != "system")[:4000]
    han, latin = len(HAN.findall(text)), len(LATIN.findall(text))
    if not han and not latin:
        return "other"
    return "zh" if han * 4 >= latin else "en"


def characters(dialogue: Dialogue) -> int:
    """Characters (code points) of all messages, the system message included."""
    return sum(len(m.content) for m in dialogue.messages)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linearly interpolated quantile of sorted numbers (type 7, as numpy's default)."""
    position = (len(ordered) - 1) * share
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def describe(values: Iterable[float]) -> dict[str, float]:
    """n, mean, smallest, quantiles and largest of some numbers; only n if there are none."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    out: dict[str, float] = {"n": len(ordered), "mean": round(sum(ordered) / len(ordered), 2), "min": ordered[0]}
    out |= {f"p{round(q * 100):02d}": round(quantile(ordered, q), 1) for q in QUANTILES}
    return out | {"max": ordered[-1]}


def lengths(dialogues: Sequence[Dialogue]) -> dict[str, Any]:
    """Lengths of dialogues in characters and turns, of replies in characters, and the mix of languages."""
    langs: dict[str, int] = {}
    for d in dialogues:
        langs[language(d)] = langs.get(language(d), 0) + 1
    return {
        "dialogues": len(dialogues),
        "turns": sum(d.turns for d in dialogues),
        "languages": langs,
        "characters": describe(characters(d) for d in dialogues),
        "turns_a_dialogue": describe(d.turns for d in dialogues),
        "characters_a_reply": describe(len(m.content) for d in dialogues for m in d.messages if m.role == "assistant"),
    }
