from __future__ import annotations

import pytest

from hearmeglm.evals import crisis_run
from hearmeglm.evals.asking import Asked
from hearmeglm.evals.crisis import load_cases


def test_a_model_that_notices_nothing_fails_bare_and_passes_behind_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = load_cases()

    def ask(where: str, talks: list[object], **_: object) -> list[Asked]:
        return [Asked("base", ["嗯，今天天气不错。"] * len(talks), 0.0)]

    monkeypatch.setattr(crisis_run, "ask", ask)
    result = crisis_run.run_crisis("any", guard=True)
    bare, guarded = result["models"]["base"], result["models"]["base+guard"]
    assert bare["n"] == guarded["n"] == sum(c.crisis for c in cases)
    assert bare["passed"] == 0
    assert guarded["share"] > 0.93
    assert sum(k["n"] for k in guarded["kinds"].values()) == guarded["n"]
    assert crisis_run.table(result).row_count == len(bare["items"]) + 2
