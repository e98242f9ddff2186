"""From generations and scores to the before/after table: one row a model, unscored counted, nothing averaged away silently."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..types import Generation, Score
from .heldout import Heldout
from .overlap import METRICS as OVERLAP

if TYPE_CHECKING:
    from rich.table import Table

ROWS: tuple[tuple[str, str, str], ...] = (
    ("n", "replies 回复数", "d"),
    ("bleu-4", "BLEU-4 (characters 字)", ".4f"),
    ("rouge-1", "ROUGE-1 (jieba words 词)", ".4f"),
    ("rouge-2", "ROUGE-2 (jieba words 词)", ".4f"),
    ("rouge-l", "ROUGE-L (jieba words 词)", ".4f"),
    ("loss", "held-out loss, nats/token 留出损失", ".4f"),
    ("bits-per-char", "bits per character 每字比特", ".4f"),
    ("runtime_s", "runtime 用时 (s)", ".2f"),
    ("samples_per_s", "samples/s 每秒条数", ".3f"),
    ("steps_per_s", "steps/s 每秒批数", ".3f"),
    ("first_token_s", "first token 首字 (s, in the batch)", ".3f"),
    ("total_s", "whole reply 整条 (s, in the batch)", ".3f"),
    ("tokens_per_reply", "tokens per reply 每条词元", ".1f"),
    ("chars_per_reply", "characters per reply 每条字数", ".1f"),
    ("tokens_per_s", "tokens/s 每秒词元", ".1f"),
    ("capped", "hit the cap 达到上限", ".1%"),
)
"""Key in the summary, label, format: the rows of the table in order."""


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of the known values; None if there is none."""
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known else None


def summarise(
    generations: Sequence[Generation],
    scores: Sequence[Score],
    losses: Sequence[Heldout],
    runtime_s: float | None,
    batch_size: int,
) -> dict[str, Any]:
    """The numbers of one model.

    Args:
        losses: of the reference answers; their mean weighs each supervised token alike, as a training loss does.
        runtime_s: seconds that generating all replies took together (loading the model not counted); None: not known.
        batch_size: what a step is: the original counts batches of prompts, so steps/s = batches / runtime.
    """
    n = len(generations)
    tokens = sum(g.tokens for g in generations)
    by_metric: dict[str, list[float | None]] = {}
    for s in scores:
        by_metric.setdefault(s.metric, []).append(s.value)
    out: dict[str, Any] = {"n": n, "dialogues": len({g.dialogue_id for g in generations})}
    for metric, values in by_metric.items():
        value = mean(values)
        out[metric] = None if value is None else round(value, 4)
    if losses:
        whole = Heldout(
            "", sum(h.nats for h in losses), sum(h.tokens for h in losses), sum(h.characters for h in losses)
        )
        out |= {"loss": round(whole.per_token, 4), "bits-per-char": round(whole.bits_per_character, 4)}
    out["unscored"] = {m: k for m, values in by_metric.items() if (k := sum(v is None for v in values))}
    out["runtime_s"] = None if runtime_s is None else round(runtime_s, 4)
    out["samples_per_s"] = round(n / runtime_s, 4) if runtime_s else None
    out["steps_per_s"] = round(math.ceil(n / batch_size) / runtime_s, 4) if runtime_s else None
    out["first_token_s"] = mean([g.first_token_s for g in generations])
    out["total_s"] = mean([g.total_s for g in generations])
    out["tokens_per_reply"] = tokens / n if n else None
    out["chars_per_reply"] = mean([float(len(g.prediction)) for g in generations])
    out["tokens_per_s"] = round(tokens / runtime_s, 2) if runtime_s else None
    out["capped"] = sum(g.finish_reason == "length" for g in generations) / n if n else None
    return out


def table(summary: dict[str, Any]) -> Table:
    """The before/after table for a terminal."""
    from rich.table import Table

    models = list(summary["models"])
    how = "greedy" if summary["greedy"] else "sampled"
    turns = "every counsellor turn 每一轮" if summary["turns"] == "every" else "last turns 末轮"
    out = Table(title=f"Before / after 前后对比 · {turns} of {summary['dialogues']} held-out dialogues, {how}")
    out.add_column("", overflow="fold")
    for name in models:
        out.add_column(name, justify="right")
    for key, label, form in ROWS:
        if any(summary["models"][m].get(key) is not None for m in models):
            cells = [summary["models"][m].get(key) for m in models]
            out.add_row(label, *("–" if c is None else format(c, form) for c in cells))
    return out


def tables(summary: dict[str, Any]) -> list[Table]:
    """The table, and the one of every turn if there is one."""
    every = [{**summary, "turns": "every", **summary["every"]}] if "every" in summary else []
    return [table(one) for one in (summary, *every)]


def chart(summary: dict[str, Any], path: Path) -> None:
    """Bars of the four overlap numbers for every model, with n; written atomically as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ..files import atomic_open

    models = list(summary["models"])
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / max(1, len(models))
    for i, name in enumerate(models):
        values = [summary["models"][name].get(m) or 0.0 for m in OVERLAP]
        bars = axes.bar(
            [x + i * width for x in range(len(OVERLAP))],
            values,
            width,
            label=f"{name} (n={summary['models'][name]['n']})",
        )
        axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=1)
    axes.set_xticks(
        [x + width * (len(models) - 1) / 2 for x in range(len(OVERLAP))], ["BLEU-4", "ROUGE-1", "ROUGE-2", "ROUGE-L"]
    )
    axes.set_ylabel("%")
    axes.set_title("Overlap with the reference replies")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_open(path, "wb") as out:
        FigureCanvasAgg(figure).print_figure(out, format="png", dpi=150)
