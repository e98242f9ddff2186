"""A finished small run, every file written by the function that writes it in life, and a run with nothing but its recipe."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
REPLIES = {
    "self": "我是Jerry，由VastEpiphany开发的AI心理支持咨询师。",
    "other": "听起来你心里很不好受 🌷 愿意和我说说吗？",
}


def _talk(*texts):
    return [{"role": "user" if i % 2 == 0 else "assistant", "content": t} for i, t in enumerate(texts)]


def _judge(run):
    from hearmeglm.evals.judge.run import Plan, summarise
    from hearmeglm.evals.judge.scoring import Verdict, write_verdicts
    from hearmeglm.files import read_jsonl, write_json

    rows = [r for _, r in read_jsonl(run.generations)]
    points = {"comprehensiveness": 1.0, "professionalism": 2.0, "authenticity": 2.0, "safety": 1.0}
    verdicts = [
        Verdict(r["id"], r["dialogue_id"], r["model"], judge, 0, {**points, "authenticity": float((i + k) % 4)} if i else None, "" if i else "no list of numbers", "[1, 2, 2, 1]", 20)
        for k, judge in enumerate(("judge-a", "judge-b"))
        for i, r in enumerate(rows)
    ]  # fmt: skip
    summary = summarise(verdicts, Plan()) | {"judges": {"judge-a": {}, "judge-b": {}}}
    write_json(run.evals.path / "judge" / "summary.cpsycoun.json", summary)
    write_verdicts(run.evals.path / "judge" / "verdicts.cpsycoun.jsonl", verdicts)


def _suites(run, persona):
    from hearmeglm.evals.knowledge import score
    from hearmeglm.evals.persona import score_replies
    from hearmeglm.evals.suites import load_suite
    from hearmeglm.files import write_json

    suite = load_suite("persona", persona)
    models = {}
    for name in ("base", "stage2"):
        replies = [
            REPLIES["self" if name == "stage2" and r["kind"] != "no-introduction" else "other"] for r in suite.rows
        ]
        models[name] = score_replies(suite, replies, persona)
    folder = run.evals.path / "suites"
    write_json(folder / "persona.json", {"suite": "persona", "digest": suite.digest, "models": models})
    keyed = load_suite("knowledge")
    known = {"base": {"method": "", **score(keyed.rows, ["A"] * len(keyed.rows))}}
    write_json(folder / "knowledge.json", {"suite": "knowledge", "digest": keyed.digest, "models": known})
    talk = _talk("今天被批评了 😢", "抱抱你 🤗 被当众批评很难受 💔", "嗯", "我在这里，慢慢说。")
    episodes = [
        {"id": r["id"], "title": r["title"], "sampling": r["sampling"], "system": r.get("system"), "talks": {"base": talk, "stage2": talk}}
        for r in load_suite("episodes", persona).rows
    ]  # fmt: skip
    write_json(folder / "episodes.json", {"suite": "episodes", "digest": "", "seed": 0, "episodes": episodes})


@pytest.fixture(scope="session")
def full_run(tmp_path_factory):
    from hearmeglm.data.prepare import prepare
    from hearmeglm.evals.evaluate import evaluate
    from hearmeglm.recipe_file import load_recipe
    from hearmeglm.report.capture import draw
    from hearmeglm.run import RunDir
    from hearmeglm.train.stage import train_stage
    from train.tiny import make_base

    folder = tmp_path_factory.mktemp("report")
    base = make_base(folder / "base")
    overrides = [
        f"base={base}",
        "data.limits.train=24",
        "data.limits.valid=6",
        "data.limits.test=6",
        "evaluation.limit=4",
        "evaluation.every=2",
        "evaluation.sampling.max_new_tokens=8",
    ]
    for stage in ("stage1", "stage2"):
        overrides += [f"stages.{stage}.{k}" for k in ("max_steps=2", "max_length=256", "samples=false", "trackers=[]")]
    recipe = load_recipe("demo", overrides)
    run = RunDir.create(folder / "run", recipe)
    prepare(recipe, run)
    for stage in recipe.stages:
        train_stage(recipe, run, stage)
    evaluate(recipe, run)
    _judge(run)
    _suites(run, recipe.persona)
    captures = run.path / recipe.report.captures
    captures.mkdir()
    for moment in ("setup", "training", "evaluation", "inference"):
        (captures / f"terminal-{moment}.svg").write_text(
            draw("hearme doctor", "\x1b[32m好\x1b[0m 🌷"), encoding="utf-8"
        )
        picture = run.data.path / "figures" / "sources.png"
        (captures / f"studio-{moment}.png").write_bytes(picture.read_bytes())
    return run  # fmt: skip


@pytest.fixture(scope="session")
def empty_run(tmp_path_factory):
    from hearmeglm.recipe_file import load_recipe
    from hearmeglm.run import RunDir

    return RunDir.create(tmp_path_factory.mktemp("report") / "empty", load_recipe("demo"))
