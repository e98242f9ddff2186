"""The knowledge suite: keyed questions on psychology, before and after tuning.

A model with weights at hand chooses the option that it finds most likely per character as its reply (a small model seldom
names a letter); a model behind a server is asked for a letter, and an answer without one is unscored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..types import Message
from .asking import LoadedModel, ask, subjects
from .heldout import heldout
from .items import Item
from .stats import bootstrap
from .suites import load_suite

if TYPE_CHECKING:
    from rich.table import Table

LETTERS = "ABCD"
_LETTER = re.compile(r"(?<![A-Za-z])([ABCD])(?![A-Za-z])")
_ASK = {"zh": "请只回答选项的字母。", "en": "Answer with the letter of the option only."}


def run_knowledge(where: str, models: Sequence[str] | None = None, progress: Any = None) -> dict[str, Any]:
    """Put the suite to RUN|MODEL.

    Returns:
        `{"suite", "digest", "models": {name: {"method", "n", "unscored", "accuracy", "low", "high", "macro_recall",
        "macro_f1", "by_language", "by_topic", "answers": {id: letter or None}}}}`.
    """
    suite = load_suite("knowledge")
    rows = suite.rows
    out: dict[str, Any] = {"suite": suite.name, "digest": suite.digest, "models": {}}
    for name, chosen in by_likelihood(where, rows, models, progress):
        out["models"][name] = {"method": "likeliest option per character", **score(rows, chosen)}
    if not out["models"]:
        talks = [(r["id"], (Message("user", _question(r)),)) for r in rows]
        for asked in ask(where, talks, models=models, progress=progress):
            letters = [read_letter(text) for text in asked.replies]
            out["models"][asked.model] = {"method": "letter in the reply", **score(rows, letters)}
    return out


def by_likelihood(where: str, rows: Sequence[dict[str, Any]], models: Sequence[str] | None, progress: Any) -> Any:
    """(model, chosen letters) for models with weights at hand; nothing for a server or a GGUF file."""
    from contextlib import nullcontext

    show = progress or (lambda name, n: nullcontext(lambda k=1: None))
    items = [
        Item(f"{r['id']}#{i}", f"{r['id']}#{i}", 0, (Message("user", r["question"]),), option)
        for r in rows
        for i, option in enumerate(r["options"])
    ]
    for loaded in subjects(where, models):
        if not isinstance(loaded, LoadedModel):
            return
        with show(loaded.name, len(items)) as step:
            found = heldout(loaded.model, loaded.tokenizer, loaded.template, items, loaded.history, step)
        cost = [h.nats / max(1, h.characters) for h in found]
        chosen = []
        at = 0
        for r in rows:
            part = cost[at : at + len(r["options"])]
            chosen.append(LETTERS[part.index(min(part))])
            at += len(part)
        yield loaded.name, chosen


def _question(row: dict[str, Any]) -> str:
    options = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, row["options"], strict=True))
    return f"{row['question']}\n{options}\n{_ASK[row['lang']]}"


def read_letter(text: str) -> str | None:
    """The option that a reply names: its last free-standing A, B, C or D; None if there is none."""
    found = _LETTER.findall(text)
    return found[-1] if found else None


def score(rows: Sequence[dict[str, Any]], chosen: Sequence[str | None]) -> dict[str, Any]:
    """Accuracy with its 95 % interval, recall and F1 averaged over the four letters; unscored counted, and wrong in none of them."""
    known = [(r, c) for r, c in zip(rows, chosen, strict=True) if c is not None]
    hits = [float(r["key"] == c) for r, c in known]
    interval = bootstrap(hits, [r["id"] for r, _ in known])
    recalls, f1s = [], []
    for letter in LETTERS:
        tp = sum(r["key"] == letter == c for r, c in known)
        keyed, said = sum(r["key"] == letter for r, _ in known), sum(c == letter for _, c in known)
        if keyed:
            recalls.append(tp / keyed)
            f1s.append(2 * tp / (keyed + said))
    return {
        "n": len(known),
        "unscored": len(rows) - len(known),
        "accuracy": _round(interval.mean if interval else None),
        "low": _round(interval.low if interval else None),
        "high": _round(interval.high if interval else None),
        "macro_recall": _round(sum(recalls) / len(recalls) if recalls else None),
        "macro_f1": _round(sum(f1s) / len(f1s) if f1s else None),
        "by_language": _shares(known, "lang"),
        "by_topic": _shares(known, "topic"),
        "answers": {r["id"]: c for r, c in zip(rows, chosen, strict=True)},
    }


def _shares(known: Sequence[tuple[dict[str, Any], str]], key: str) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for row, letter in known:
        cell = out.setdefault(row[key], {"n": 0, "right": 0})
        cell["n"] += 1
        cell["right"] += row["key"] == letter
    return out


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def table(result: dict[str, Any]) -> Table:
    """One row a model; chance is 25 %."""
    from rich.table import Table

    out = Table(title=f"Knowledge 心理学知识 (sha256 {result['digest'][:12]}; chance 25 %)")
    for head in ("model", "accuracy [95 %]", "macro recall", "macro F1", "zh", "en", "n", "unscored", "method"):
        out.add_column(head)
    for name, m in result["models"].items():
        langs = [f"{c['right']}/{c['n']}" if (c := m["by_language"].get(k)) else "–" for k in ("zh", "en")]
        accuracy = "–" if m["accuracy"] is None else f"{m['accuracy']:.1%} [{m['low']:.1%}, {m['high']:.1%}]"
        out.add_row(
            name,
            accuracy,
            str(m["macro_recall"]),
            str(m["macro_f1"]),
            *langs,
            str(m["n"]),
            str(m["unscored"]),
            m["method"],
        )
    return out
