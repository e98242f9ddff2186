"""Suites run on a run and on a single model, and count what they should."""

import json

import pytest
from typer.testing import CliRunner

from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.cli import app
from hearmeglm.evals import asking, knowledge, talks
from hearmeglm.evals.evaluate import evaluate
from hearmeglm.evals.style import opening, style, summarise, uses_client_words, wants_emoji
from hearmeglm.evals.suites import FOLDER, load_suite
from hearmeglm.files import sha256_file
from hearmeglm.recipe import Persona
from hearmeglm.types import Generation, Message


@pytest.mark.parametrize("name", sorted(p.stem for p in FOLDER.glob("*.sha256")))
def test_every_suite_is_the_one_whose_digest_was_committed(name):
    assert load_suite(name).digest == sha256_file(FOLDER / f"{name}.jsonl")


def test_knowledge_questions_are_keyed_and_balanced():
    rows = load_suite("knowledge").rows
    assert len(rows) >= 80
    assert len({r["question"] for r in rows}) == len(rows)
    for lang in ("zh", "en"):
        assert sum(r["lang"] == lang for r in rows) >= 40
    for letter in knowledge.LETTERS:
        assert 0.2 < sum(r["key"] == letter for r in rows) / len(rows) < 0.3
    assert all(len(set(r["options"])) == 4 for r in rows)


def test_knowledge_scores():
    rows = load_suite("knowledge").rows
    right = knowledge.score(rows, [r["key"] for r in rows])
    assert (right["accuracy"], right["macro_f1"], right["unscored"]) == (1.0, 1.0, 0)
    none = knowledge.score(rows, [None] * len(rows))
    assert (none["accuracy"], none["unscored"]) == (None, len(rows))
    always = knowledge.score(rows, ["A"] * len(rows))
    assert always["macro_recall"] == 0.25
    assert knowledge.read_letter("Option A is wrong; I choose B.") == "B"
    assert knowledge.read_letter("答案是C") == "C"
    assert knowledge.read_letter("I do not know") is None


def test_the_five_episodes_have_the_originals_sampling():
    rows = {r["id"]: r for r in load_suite("episodes").rows}
    assert list(rows) == ["identity", "misleading-premise", "tone", "knowledge", "emoji"]
    assert rows["tone"]["sampling"] == {"max_new_tokens": 1024, "top_p": 0.7, "temperature": 0.95}
    assert rows["knowledge"]["sampling"] == {"max_new_tokens": 2310, "top_p": 0.9, "temperature": 0.95}
    assert len(rows["tone"]["turns"]) == 5
    assert [r for r in rows if rows[r].get("system")] == ["emoji"]


def serve(monkeypatch, answer):
    monkeypatch.setattr(
        asking, "subjects", lambda where, models=None: iter([asking.ServedModel("served", ScriptedModel(answer))])
    )
    for module in (knowledge, talks):
        monkeypatch.setattr(module, "subjects", asking.subjects)


def test_a_served_model_names_a_letter(monkeypatch):
    serve(monkeypatch, lambda m: "B." if "字母" in m[-1].content else "hm")
    found = knowledge.run_knowledge("http://x/v1#served")["models"]["served"]
    assert found["method"] == "letter in the reply"
    assert (found["n"], found["unscored"]) == (42, 42)


def test_talks_show_repetition_and_a_persona_that_stays(monkeypatch):
    def answer(messages):
        asked = messages[-1].content
        if asked in talks.WHO.values():
            return "我是Jerry，由VastEpiphany开发。"
        return "我理解你的感受，这一定很不容易。"

    serve(monkeypatch, answer)
    found = talks.run_talks("x", "scripted")["models"]["served"]
    assert len(found["by_turn"]) == 10
    assert found["by_turn"][0]["repeats"] == 0.0
    assert found["by_turn"][9]["repeats"] == 1.0
    assert found["persona_after"] == {"n": 6, "name": 6, "developer": 6, "other": 0}
    english = [r["drift"] for r in found["by_turn"]]
    assert english == [pytest.approx(2 / 6, abs=1e-3)] * 10  # the two English clients are answered in Chinese
    assert len(found["talks"]["exam"]) == 22


def test_suites_of_a_run_by_command_line(tiny_run):
    _, run = tiny_run
    runner = CliRunner()
    for suite, models in (("persona", "base,stage2"), ("knowledge", "base"), ("talks", "base")):
        extra = ["--turns", "2"] if suite == "talks" else []
        done = runner.invoke(app, ["suite", suite, str(run.path), "--models", models, "--json", *extra])
        if done.exit_code and "max_position" not in str(done.exception) and "within 512" in str(done.exception):
            continue  # the tiny model's context is too short for the ten-turn questions
        assert done.exit_code == 0, done.exception
        assert list(json.loads(done.stdout)["models"]) == models.split(",")
        assert (run.evals.path / "suites" / f"{suite}.json").is_file()


@pytest.mark.parametrize("stage", ["base", "stage2"])
def test_a_suite_is_put_to_one_model(tiny_run, stage):
    _, run = tiny_run
    done = CliRunner().invoke(app, ["suite", "knowledge", f"{run.path}:{stage}", "--json"])
    assert done.exit_code == 0, done.exception
    [(name, found)] = json.loads(done.stdout)["models"].items()
    assert stage in name
    assert found["n"] == len(load_suite("knowledge").rows)


def test_style_of_a_run(tiny_run):
    recipe, run = tiny_run
    evaluate(recipe, run)
    done = CliRunner().invoke(app, ["suite", "style", str(run.path), "--json"])
    assert json.loads(done.stdout)["models"]["base"]["replies"]["n"] == 12
    assert "Markdown" in CliRunner().invoke(app, ["suite", "style", str(run.path)]).stdout


def user(text):
    return (Message("user", text),)


@pytest.mark.parametrize(
    ("reply", "marked"),
    [
        ("**重点**是睡眠", 1),
        ("1. 早睡\n2. 运动", 1),
        ("- 散步", 1),
        ("# 建议", 1),
        ("我在这里，慢慢说。", 0),
        ("2024年5月1日那天", 0),
        ("3点多才睡着？", 0),
    ],
)
def test_markdown(reply, marked):
    assert style(reply, user("你好"))["markdown"] == marked


def test_style_counts():
    found = style("听起来你很累。是工作的事吗？想多说一点吗？😊", user("工作让我很累"))
    assert (found["questions"], found["empathy-opening"], found["emoji"]) == (2, 1, 1)
    assert style("Yes, 我在听。", user("I feel lonely these days"))["language-kept"] == 0
    assert style("I hear you.", user("I feel lonely these days"))["language-kept"] == 1
    assert style("I hear you.", user("今天很难过"))["language-kept"] == 0
    assert style("您好，我是Jerry。", user("今天很难过"))["introduces"] == 1
    assert uses_client_words("工作压力确实很大", "最近工作压力很大") > 0.5
    assert uses_client_words("嗯", "最近") is None
    assert opening("听起来你很累，对吗") == "听起来你很累"
    assert wants_emoji((Message("system", "回复里多用表情"), *user("hi")))


def test_monotonous_openings_show():
    gens = [
        Generation(f"{i}#0", str(i), 0, "m", user("我很难过"), "我理解你的感受，慢慢来。", "听你这么说。", 3, "stop")
        for i in range(4)
    ]
    found = summarise(gens)["replies"]
    assert found["openings"]["commonest_share"] == 1.0
    assert found["openings"]["distinct"] == 1


def test_default_persona_fills_suites():
    assert "{name}" not in json.dumps(load_suite("persona", Persona()).rows)
