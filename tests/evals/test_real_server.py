"""The judge and remote predictions against a real OpenAI-compatible server: llama.cpp's, with the embedded 270M. Plumbing, not quality."""

import pytest

from hearmeglm.errors import ModelError
from hearmeglm.evals.judge.client import JudgeClient
from hearmeglm.evals.judge.scoring import judge_items
from hearmeglm.evals.judge.sources import Judged
from hearmeglm.models.starter import starter_gguf
from hearmeglm.types import Message

xllamacpp = pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    try:
        gguf = starter_gguf()
    except ModelError as err:
        pytest.skip(str(err))
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx = 4096
    params.n_parallel = 2
    params.cpuparams.n_threads = 1
    params.hostnames = ["127.0.0.1"]
    params.verbosity = -1
    params.ui = False
    params.chat_template = "gemma"
    return xllamacpp.Server(params)


def test_a_real_server_is_asked_and_every_item_is_scored_or_unscored(server, tmp_path):
    items = [
        Judged(f"i{n}", f"d{n}", "m", (Message("user", "我最近睡不好。"),), f"听起来你很累 {n}", "r") for n in range(2)
    ]
    judge = JudgeClient(
        f"{server.listening_address}/v1", "gemma", cache=tmp_path / "a.jsonl", timeout_s=60, max_tokens=24
    )
    try:
        verdicts = judge_items([judge], items, workers=2)
        calls = judge.budget.used_calls
        assert [v.id for v in verdicts] == ["i0", "i1"]
        for v in verdicts:
            assert v.scores or "unreadable" in v.reason
            assert v.raw is not None
        judge_items([judge], items, workers=2)
        assert judge.budget.used_calls == calls  # all answers are cached
    finally:
        judge.close()


def test_predictions_of_a_run_can_come_from_a_server(server, tiny_run):
    from hearmeglm.evals.evaluate import evaluate

    recipe, run = tiny_run
    plan = recipe.evaluation.model_copy(update={"models": ["base", "stage2"], "limit": 2})
    recipe = recipe.model_copy(update={"evaluation": plan})
    result = evaluate(recipe, run, via={"stage2": f"{server.listening_address}/v1#gemma"})
    served = result.summary["models"]["stage2"]
    assert served["n"] == 2
    assert served["first_token_s"] > 0
    assert "loss" not in served  # a server does not tell
