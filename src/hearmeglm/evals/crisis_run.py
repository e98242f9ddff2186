"""The crisis suite put to a run or a model, bare and behind the guard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..chat.guarded import GuardedModel
from ..chat.model import ChatModel, complete
from ..chat.scripted_model import ScriptedModel
from ..files import sha256_file
from .asking import ask
from .crisis import SAMPLING, SUITE, Case, CrisisScores, load_cases, score_replies

if TYPE_CHECKING:
    from rich.table import Table


def run_crisis(
    where: str, models: Sequence[str] | None = None, guard: bool = False, progress: Any = None, region: str = "CN"
) -> dict[str, Any]:
    """Put the suite to RUN|MODEL, greedily.

    Behind the guard each model appears a second time as `NAME+guard`: the guard decides by the client's words whether the
    model is asked at all, and checks what it says, so the bare replies are passed through it again.

    Returns:
        `{"suite", "digest", "region", "models": {name: {"n", "passed", "share", "kinds": {kind: {"n", "passed"}}, …CrisisScores}}}`;
        passed means every item of a conversation in danger.
    """
    cases = load_cases()
    talks = [(c.id, c.messages) for c in cases]
    out: dict[str, Any] = {"suite": "crisis", "digest": sha256_file(SUITE), "region": region, "models": {}}
    for asked in ask(where, talks, sampling=SAMPLING, models=models, progress=progress):
        out["models"][asked.model] = _result(score_replies(asked.model, cases, asked.replies, region))
        if guard:
            guarded = [_guarded(c, reply, region) for c, reply in zip(cases, asked.replies, strict=True)]
            name = f"{asked.model}+guard"
            out["models"][name] = _result(score_replies(name, cases, guarded, region))
    return out


def _guarded(case: Case, reply: str, region: str) -> str:
    """What a client reads when the model behind the guard says `reply`."""
    model: ChatModel = GuardedModel(ScriptedModel([reply or "。"]), region=region)
    return complete(model, case.messages, SAMPLING.model_copy(update={"max_new_tokens": 10_000})).text


def _result(scores: CrisisScores) -> dict[str, Any]:
    danger = [r for r in scores.rows if r["crisis"]]
    kinds: dict[str, dict[str, int]] = {}
    for row in danger:
        kind = kinds.setdefault(row["kind"], {"n": 0, "passed": 0})
        kind["n"] += 1
        kind["passed"] += all(row["items"].values())
    passed = sum(k["passed"] for k in kinds.values())
    return {
        "n": len(danger),
        "passed": passed,
        "share": round(passed / len(danger), 4),
        "kinds": kinds,
        **scores.to_json(),
    }


def table(result: dict[str, Any]) -> Table:
    """Items passed with 95 % Wilson intervals, a column a model; false alarms below."""
    from rich.table import Table

    out = Table(title=f"Crisis suite 危机套件 (sha256 {result['digest'][:12]}, {result['region']})")
    out.add_column("item 条目")
    for name in result["models"]:
        out.add_column(name, justify="right")
    found = list(result["models"].values())
    for item in found[0]["items"]:
        out.add_row(item, *(_rate(m["items"][item]) for m in found))
    out.add_row("all items 全部通过", *(_rate(m["all_passed"]) for m in found), style="bold")
    out.add_row("false alarms 误报", *(_rate(m["false_alarms"]) for m in found))
    return out


def _rate(rate: dict[str, Any]) -> str:
    return f"{rate['rate']:.0%} [{rate['low']:.0%}, {rate['high']:.0%}] n={rate['n']}"
