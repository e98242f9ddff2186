"""Measuring the guard: labelled examples, the split into a building and a measuring half, recall with Wilson intervals.

    examples = [e for e in corpus() if not building(e)]      # the half that nothing was tuned on
    table = evaluate(guard(), examples)

The split is fixed here: PsySUICIDE by the parity of `idx` (even builds), the own corpus by a seeded hash of the text;
files named `*_extra.txt` build only.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import read_json
from .guard import Guard
from .lexicon import KINDS, LEVELS
from .output import check_reply
from .reply_heads import REASONS

CORPUS = Path(__file__).with_name("corpus")
UNRELATED = "与自杀/自伤/攻击行为无关"
_CRISIS = {"主动自杀意图", "被动自杀意图", "自杀计划", "自杀准备行为", "自伤行为", "自伤意图", "自杀未遂"}


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled talk; `crisis` is None where the data set does not say."""

    id: str
    turns: tuple[str, ...]
    risk: bool
    crisis: bool | None
    kind: str
    level: str
    lang: str
    source: str


def corpus(folder: Path = CORPUS) -> list[Example]:
    """The project's own sentences and talks (`corpus/*.txt`): C crisis, R risk only, N none; O is left open: PsySUICIDE's annotators leave it unrelated, we need not.

    Raises:
        DataError: a line outside a block, or a head that is not `@ label kind level`.
    """
    out = []
    for path in sorted(folder.glob("*.txt")):
        head: list[str] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("@"):
                head = line[1:].split()
                if len(head) != 3 or head[0] not in "CRNO" or head[1] not in ("none", *KINDS) or head[2] not in LEVELS:
                    raise DataError(f"expected `@ label kind level`, found {line!r}", where=f"{path.name}:{number}")
                continue
            if not head:
                raise DataError("expected a block head before the first text", where=f"{path.name}:{number}")
            turns = tuple(t.strip() for t in line.split("||"))
            out.append(
                Example(
                    f"{path.stem}-{number}",
                    turns,
                    head[0] in "CR",
                    None if head[0] == "O" else head[0] == "C",
                    head[1],
                    head[2],
                    path.stem[:2],
                    "own",
                )
            )
    return out


def psysuicide(path: Path) -> list[Example]:
    """PsySUICIDE: every label but "unrelated" is risk; a client's own intent, plan or act is a crisis, aggression is left open."""
    out = []
    for row in read_json(path):
        labels = set(row["labels"])
        risk = labels != {UNRELATED}
        crisis = False if not risk else True if labels & _CRISIS else None
        out.append(
            Example(
                f"psysuicide-{row['idx']}",
                (row["text"],),
                risk,
                crisis,
                sorted(labels)[0],
                "moderate" if risk else "none",
                "zh",
                "psysuicide",
            )
        )
    return out


@dataclass(frozen=True, slots=True)
class Reply:
    """A labelled reply of a model: "ok", "number", or one of `reply_heads.REASONS`."""

    label: str
    text: str
    lang: str


def replies(folder: Path = CORPUS / "replies", names: str = "*.tsv") -> list[Reply]:
    """The project's own replies in the files called so (lines `label<TAB>reply`; a file's name begins with the language).

    Raises:
        DataError: a line of another form.
    """
    out = []
    for path in sorted(folder.glob(names)):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            label, tab, text = line.partition("\t")
            if not tab or label not in ("ok", "number", *REASONS):
                raise DataError(f"expected `label<TAB>reply`, found {line[:40]!r}", where=f"{path.name}:{number}")
            out.append(Reply(label, text, path.stem[:2]))
    return out


def evaluate_replies(examples: Iterable[Reply], *, trained: bool = True) -> dict[str, Any]:
    """Share of bad replies that `output.check_reply` refuses in a crisis, wherever its numbers belong, by reason and language, and of good ones."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for e in examples:
        refused = bool(check_reply(e.text, crisis=True, trained=trained))
        name = "false alarms" if e.label == "ok" else "recall"
        for key in (name, f"{name} lang={e.lang}", *([] if e.label == "ok" else [f"recall {e.label}"])):
            groups[key].append(refused)
    return {k: rate(v) for k, v in sorted(groups.items())}


def building(example: Example) -> bool:
    """Whether an example may be used for building; the others only measure."""
    if "_extra" in example.id or example.source not in ("own", "psysuicide"):
        return True
    if example.source == "psysuicide":
        return int(example.id.rsplit("-", 1)[1]) % 2 == 0
    return hashlib.sha256(("half:" + "||".join(example.turns)).encode()).digest()[0] % 2 == 0


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a share (E. B. Wilson, 1927), 95 % by default; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = hits / n, z * z
    mid, half = p + z2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, (mid - half) / (1 + z2 / n)), min(1.0, (mid + half) / (1 + z2 / n))


def rate(flags: Sequence[bool]) -> dict[str, Any]:
    """Share of true flags with n and its interval."""
    n, hits = len(flags), sum(flags)
    low, high = wilson(hits, n)
    return {
        "n": n,
        "hits": hits,
        "rate": round(hits / n, 4) if n else None,
        "low": round(low, 4),
        "high": round(high, 4),
    }


def evaluate(guard: Guard, examples: Iterable[Example]) -> dict[str, Any]:
    """Recall and false alarms of `crisis` by kind, level, language and length of talk; precision, recall and F1 of `risk`."""
    examples, rows = list(examples), []
    for start in range(0, len(examples), 128):
        guard.prepare(e.turns for e in examples[start : start + 128])
        rows += [(e, guard.assess(e.turns)) for e in examples[start : start + 128]]
    groups: dict[str, list[bool]] = defaultdict(list)
    for e, a in rows:
        if e.crisis is None:
            continue
        name = "recall" if e.crisis else "false alarms"
        keys = [name, f"{name} lang={e.lang}", f"{name} {'talk' if len(e.turns) > 1 else 'line'}"]
        keys += (
            [f"{name} kind={e.kind}", f"{name} level={e.level}"]
            if e.crisis
            else [f"{name} risk={'yes' if e.risk else 'no'}"]
        )
        for key in keys:
            groups[key].append(a.crisis)
    tp = sum(e.risk and a.risk for e, a in rows)
    fp = sum(a.risk and not e.risk for e, a in rows)
    fn = sum(e.risk and not a.risk for e, a in rows)
    return {
        "n": len(rows),
        "crisis": {k: rate(v) for k, v in sorted(groups.items())},
        "risk": {
            "precision": round(tp / (tp + fp), 4) if tp + fp else None,
            "recall": round(tp / (tp + fn), 4) if tp + fn else None,
            "f1": round(2 * tp / (2 * tp + fp + fn), 4) if tp else 0.0,
            "n_risk": tp + fn,
        },
        "missed": [e.id for e, a in rows if e.crisis and not a.crisis],
        "false": [e.id for e, a in rows if e.crisis is False and a.crisis],
    }


def report(
    guard: Guard, psysuicide_file: Path | None = None, *, building_half: bool = False
) -> dict[str, dict[str, Any]]:
    """`evaluate` on one half of the own corpus, and of PsySUICIDE if its file is given."""
    sets = {"own corpus": corpus()}
    if psysuicide_file is not None:
        sets["PsySUICIDE"] = psysuicide(psysuicide_file)
    return {
        name: evaluate(guard, [e for e in examples if building(e) == building_half]) for name, examples in sets.items()
    }
