"""One judging from items to files: told cost, verdicts, scores, summary with intervals, agreement, controls, pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import read_json, write_json, write_jsonl
from ..stats import bootstrap
from .agreement import agreement
from .client import JudgeClient
from .pairwise import compare_pairs
from .rubric import digest, mode, ranges
from .scoring import Verdict, judge_items, scores_of, write_verdicts
from .sources import Judged

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Plan:
    """How to judge; defaults are the original's (one sample at temperature 0 by its own rubric)."""

    mode: str = "cpsycoun"
    samples: int = 1
    temperature: float = 0.0
    workers: int = 8
    seed: int = 42
    pairs: tuple[tuple[str, str], ...] = ()


def run_judge(
    clients: Sequence[JudgeClient],
    items: Sequence[Judged],
    folder: Path,
    plan: Plan,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Judge `items` and write `verdicts`, `scores` and `summary` of the mode into `folder`.

    Answers already in the clients' caches are not asked again, so a rerun after a crash repeats nothing.
    """
    verdicts = judge_items(
        clients,
        items,
        mode_name=plan.mode,
        samples=plan.samples,
        temperature=plan.temperature,
        workers=plan.workers,
        on_verdict=on_step,
    )
    summary = summarise(verdicts, plan)
    summary["judges"] = {
        c.model: {"url": c.url, "faults": c.faults, "calls": c.budget.used_calls, "tokens": c.budget.used_tokens}
        for c in clients
    }
    summary["pairwise"] = []
    for before, after in plan.pairs:
        sides = [[i for i in items if i.model == m] for m in (before, after)]
        for client in clients:
            found = compare_pairs(client, *sides, temperature=plan.temperature, workers=plan.workers, on_pair=on_step)
            rows = found.pop("pairs")
            write_jsonl(folder / f"pairs.{before}.{after}.{_slug(client.model)}.jsonl", rows)
            summary["pairwise"].append({"before": before, "after": after, **found})
    write_verdicts(folder / f"verdicts.{plan.mode}.jsonl", verdicts)
    write_jsonl(folder / f"scores.{plan.mode}.jsonl", scores_of(verdicts, plan.mode))
    write_json(folder / f"summary.{plan.mode}.json", summary)
    return summary


def summarise(verdicts: Sequence[Verdict], plan: Plan) -> dict[str, Any]:
    """Mean, interval (dialogues resampled), n and unscored of every model and criterion; agreement; the rubric's digest."""
    models: dict[str, Any] = {}
    for name in dict.fromkeys(v.model for v in verdicts):
        mine = [v for v in verdicts if v.model == name]
        known = [v for v in mine if v.scores is not None]
        cells: dict[str, Any] = {}
        for criterion, high in ranges().items():
            values = [v.scores[criterion] for v in known if v.scores is not None]
            interval = bootstrap(values, [v.dialogue_id for v in known], seed=plan.seed)
            cells[criterion] = {
                "max": high,
                **({} if interval is None else {"mean": interval.mean, "low": interval.low, "high": interval.high}),
            }
        models[name] = {
            "verdicts": len(mine),
            "scored": len(known),
            "unscored": len(mine) - len(known),
            "reasons": _counts([v.reason for v in mine if v.scores is None]),
            "dialogues": len({v.dialogue_id for v in mine}),
            "criteria": cells,
        }
    return {
        "mode": plan.mode,
        "note": mode(plan.mode).get("note", ""),
        "rubric": digest(),
        "samples": plan.samples,
        "temperature": plan.temperature,
        "seed": plan.seed,
        "models": models,
        "agreement": agreement(verdicts),
    }


def _counts(reasons: Sequence[str]) -> dict[str, int]:
    return {r: reasons.count(r) for r in dict.fromkeys(reasons)}


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)[-60:]


def cache_path(folder: Path, model: str) -> Path:
    """File of a judge's answers by content."""
    return folder / "answers" / f"{_slug(model)}.jsonl"


def table(summary: dict[str, Any]) -> Table:
    """Mean [95 % interval] by model and criterion, scored and unscored counts."""
    from rich.table import Table

    out = Table(title=f"Judge 评审 ({summary['mode']}, rubric {summary['rubric'][:8]})", caption=summary["note"])
    out.add_column("")
    for criterion, high in ranges().items():
        out.add_column(f"{criterion} (0–{high})", justify="right")
    out.add_column("scored", justify="right")
    out.add_column("unscored", justify="right")
    for name, m in summary["models"].items():
        cells = [
            f"{c['mean']:.2f} [{c['low']:.2f}, {c['high']:.2f}]" if "mean" in c else "–" for c in m["criteria"].values()
        ]
        out.add_row(name, *cells, str(m["scored"]), str(m["unscored"]))
    for p in summary.get("pairwise", []):
        out.add_row(
            f"{p['before']} → {p['after']}",
            f"wins {p['wins']}",
            f"ties {p['ties']}",
            f"losses {p['losses']}",
            f"flips {p['flips']}",
            str(p["n"]),
            str(p["unscored"]),
        )
    return out


def earlier(folder: Path, mode_name: str) -> dict[str, Any] | None:
    """The summary of an earlier judging in this folder, if there is one."""
    path = folder / f"summary.{mode_name}.json"
    found: dict[str, Any] | None = read_json(path) if path.is_file() else None
    return found
