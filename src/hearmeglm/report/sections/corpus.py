"""The data: sources, samples, conversion, cleaning, split."""

from __future__ import annotations

import json
from collections import Counter

from ...types import Dialogue
from .. import figures
from ..blocks import Block, Bubble, Chat, Code, NotRun, Para, Table
from ..data import ReportData
from ..words import Words, number, percent

LEDGER_ROWS = 14


def _absent(key: str, d: ReportData, w: Words, caption: str) -> NotRun:
    return NotRun(key, w(caption), f"hearme prepare {d.recipe.name} --run {d.run}")


def sources(d: ReportData, w: Words) -> tuple[Block, ...]:
    """Where the dialogues come from, with licences and shares."""
    if d.data is None:
        return (
            _absent("tab:sources", d, w, "cap.sources"),
            _absent("fig:sources", d, w, "cap.fig.sources"),
        )
    data = d.data
    rows = [
        (
            s.name,
            w(f"kind.{s.kind}"),
            number(s.read) if not s.missing else w("sources.missing"),
            number(s.kept),
            number(sum(s.dropped.values())),
            number(s.turns),
            f"{s.languages.get('zh', 0)} / {s.languages.get('en', 0)}",
            s.licence or w("licence.unknown"),
        )
        for s in data.sources
    ]
    if data.persona_pairs:
        rows.append(
            (
                w("sources.persona"),
                w("kind.self-cognition"),
                "–",
                number(data.persona_pairs),
                "–",
                "–",
                "–",
                "Apache-2.0",
            )
        )
    parts = Counter[str]()
    for split in data.splits:
        for name, n in split.sources.items():
            parts[figures.drawable(w)("sources.persona") if name == "persona" else name] += n
    heads = ("source", "kind", "read", "kept", "dropped", "turns", "lang", "licence")
    return (
        Para(
            w(
                "sources.text",
                sources=len(data.sources),
                read=number(sum(s.read for s in data.sources)),
                kept=number(sum(s.kept for s in data.sources)),
                persona=number(data.persona_pairs),
            )
        ),
        Table(
            "tab:sources",
            w("cap.sources"),
            tuple(w(f"head.{h}") for h in heads),
            tuple(rows),
            "llrrrrrl",
            (),
            "data/stats.json",
        ),
        figures.shares("fig:sources", w("cap.fig.sources"), dict(parts.most_common()), "data/stats.json"),
    )


def samples(d: ReportData, w: Words) -> tuple[Block, ...]:
    """Lengths and turns, with histograms; one emoji dialogue."""
    if d.data is None:
        return (_absent("tab:lengths", d, w, "cap.lengths"), _absent("fig:lengths", d, w, "cap.fig.lengths"),
                _absent("fig:emoji-data", d, w, "cap.fig.emoji"))  # fmt: skip
    shown = [s for s in d.data.sources if s.characters.n]
    rows = tuple(
        (s.name, number(s.characters.n), number(s.characters.mean, ".1f"), *(number(v, ",.0f") for v in (s.characters.p50, s.characters.p95, s.characters.p99, s.characters.max)), number(s.reply_characters.mean, ".1f"))
        for s in shown
    )  # fmt: skip
    heads = ("source", "n", "mean", "median", "p95", "p99", "max", "reply")
    cutoffs = sorted({s.max_length for s in d.recipe.stages.values()})
    out: list[Block] = [
        Para(w("samples.text", cutoff=" / ".join(map(str, cutoffs)) or "–")),
        Table("tab:lengths", w("cap.lengths"), tuple(w(f"head.{h}") for h in heads), rows, "lrrrrrrr", (), "data/stats.json"),
        figures.lengths(d.data, w),
    ]  # fmt: skip
    if d.data.emoji_example is None:
        out.append(NotRun("fig:emoji-data", w("samples.emoji.none")))
    else:
        out.append(_chat("fig:emoji-data", w("cap.fig.emoji"), d.data.emoji_example, d, w))
    return tuple(out)


def _chat(key: str, caption: str, dialogue: Dialogue, d: ReportData, w: Words) -> Chat:
    who = {"system": w("label.system"), "user": w("who.user"), "assistant": d.recipe.persona.name}
    bubbles = tuple(Bubble(m.role, who[m.role], m.content) for m in dialogue.messages)
    return Chat(key, caption, (("", bubbles),), f"data/train.jsonl, {dialogue.id}")


def conversion(d: ReportData, w: Words) -> tuple[Block, ...]:
    """From raw formats to messages, with one converted dialogue."""
    if d.data is None or d.data.example is None:
        return (Para(w("conversion.text")), _absent("fig:conversion", d, w, "cap.conversion"))
    row = d.data.example.to_json()
    lines = ",\n".join("    " + json.dumps(m, ensure_ascii=False) for m in row["messages"])
    text = f'{{\n  "id": {json.dumps(row["id"], ensure_ascii=False)},\n  "messages": [\n{lines}\n  ]\n}}'
    return (Para(w("conversion.text")), Code(text, "fig:conversion", w("cap.conversion"), "data/train.jsonl"))


def cleaning(d: ReportData, w: Words) -> tuple[Block, ...]:
    """The ledger by reason, and read = kept + dropped."""
    if d.data is None:
        return (_absent("tab:cleaning", d, w, "cap.cleaning"),)
    ledger = d.data.ledger
    total = sum(line.n for line in ledger)
    if not ledger:
        return (Para(w("cleaning.none")),)
    rows = tuple(
        (line.source, w.known(f"action.{line.action}", line.action), w.said(line.reason), number(line.n))
        for line in ledger[:LEDGER_ROWS]
    )
    heads = ("source", "action", "reason", "count")
    balance = tuple(
        (s.name, number(s.read), number(s.kept), number(sum(s.dropped.values())), "; ".join(f"{w.said(r)}: {n}" for r, n in s.dropped.items()) or "–")
        for s in d.data.sources
    )  # fmt: skip
    balance_heads = ("source", "read", "kept", "dropped", "reason")
    return (
        Para(w("cleaning.text", n=len(rows), all=number(total))),
        Table("tab:cleaning", w("cap.cleaning"), tuple(w(f"head.{h}") for h in heads), rows, "lllr", (), "data/ledger.jsonl"),
        Table("tab:balance", w("cleaning.balance"), tuple(w(f"head.{h}") for h in balance_heads), balance, "lrrrl", (2, 1, 1, 1, 6), "data/stats.json"),
    )  # fmt: skip


def split(d: ReportData, w: Words) -> tuple[Block, ...]:
    """The split, its reason, and its sizes."""
    shares = d.recipe.data.split
    reason = (
        w("split.reason", reason=w.said(shares.reason))
        if shares.reason
        else w("split.reason.default", train=f"{shares.train:g}", valid=f"{shares.valid:g}", test=f"{shares.test:g}")
    )
    if d.data is None:
        return (Para(reason), _absent("tab:split", d, w, "cap.split"), _absent("fig:split", d, w, "cap.fig.split"))
    parts = d.data.splits
    total = sum(s.dialogues for s in parts)
    rows = [(w(f"split.{s.name}"), number(s.dialogues), percent(s.dialogues, total), number(s.turns)) for s in parts]
    rows.append((w("split.total"), number(total), percent(total, total), number(sum(s.turns for s in parts))))
    heads = ("split", "dialogues", "share", "turns")
    return (
        Para(
            w(
                "split.text",
                seed=d.recipe.seed,
                groups=d.data.near_duplicate_groups,
                near=f"{d.recipe.data.near_duplicate:g}",
            )
        ),
        Para(reason),
        Table("tab:split", w("cap.split"), tuple(w(f"head.{h}") for h in heads), tuple(rows), "lrrr", (), "data/stats.json"),
        figures.shares("fig:split", w("cap.fig.split"), {figures.drawable(w)(f"split.{s.name}"): s.dialogues for s in parts}, "data/stats.json"),
    )  # fmt: skip
