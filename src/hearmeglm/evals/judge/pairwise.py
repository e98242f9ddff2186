"""Pairwise before/after: both orders are asked, and only a verdict that survives the swap counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .client import JudgeClient
from .rubric import pair_prompt, rubric
from .scoring import in_parallel, read_verdict
from .sources import Judged
from .verdict import parse_winner


def compare_pairs(
    client: JudgeClient,
    before: Sequence[Judged],
    after: Sequence[Judged],
    *,
    temperature: float = 0.0,
    workers: int = 8,
    on_pair: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Wins of `after` over `before` on the prompts that both answered.

    Returns:
        Counts `wins`, `losses`, `ties`, `flips` (the verdict followed the order), `unscored`, `n`; `preference`: wins
        plus half the ties over the consistent verdicts; `pairs`: one row a prompt with both raw answers.
    """
    known = {i.id: i for i in before}
    work = [(known[i.id], i) for i in after if i.id in known]
    again: str = rubric()["pairwise"]["again"]

    def one(pair: tuple[Judged, Judged]) -> dict[str, Any]:
        a, b = pair
        raws, winners, reason = [], [], ""
        for first, second in ((a, b), (b, a)):
            prompt = pair_prompt(a.history, first.reply, second.reply)
            winner, why, raw = read_verdict(client, prompt, parse_winner, again, temperature=temperature, sample=0)
            reason = reason or why
            winners.append(winner)
            raws.append(raw)
        on_pair()
        return {
            "id": a.id,
            "dialogue_id": a.dialogue_id,
            "result": _result(winners[0], winners[1]),
            "reason": reason,
            "raw": raws,
        }

    rows = in_parallel(one, work, workers)
    count = {k: sum(r["result"] == k for r in rows) for k in ("win", "loss", "tie", "flip", "unscored")}
    consistent = count["win"] + count["loss"] + count["tie"]
    return {
        "judge": client.model,
        "n": len(rows),
        "wins": count["win"],
        "losses": count["loss"],
        "ties": count["tie"],
        "flips": count["flip"],
        "unscored": count["unscored"],
        "preference": round((count["win"] + count["tie"] / 2) / consistent, 4) if consistent else None,
        "pairs": rows,
    }


def _result(forward: str | None, backward: str | None) -> str:
    """`forward`: before is 1, after is 2; `backward`: the other way round."""
    if forward is None or backward is None:
        return "unscored"
    swapped = {"1": "2", "2": "1", "tie": "tie"}[backward]
    if forward != swapped:
        return "flip"
    return {"1": "loss", "2": "win", "tie": "tie"}[forward]
