"""Before/after on a tiny run: the same prompts for everyone, resumable, repeatable, nothing lost."""

import json

import pytest

from hearmeglm.cli import app
from hearmeglm.evals import answering
from hearmeglm.evals.evaluate import evaluate
from hearmeglm.evals.items import draw_items, every_turn, items_of, read_dialogues
from hearmeglm.evals.summary import tables
from hearmeglm.files import read_jsonl
from hearmeglm.run import RunDir
from hearmeglm.types import Dialogue, Generation, Message, Score


def rows(path):
    return [row for _, row in read_jsonl(path)]


@pytest.fixture(scope="module")
def result(tiny_run):
    recipe, run = tiny_run
    return evaluate(recipe, run)


def test_every_model_answers_the_same_prompts(tiny_run, result):
    _, run = tiny_run
    generations = [Generation.from_json(r) for r in rows(run.generations)]
    asked = {m: [(g.id, g.messages) for g in generations if g.model == m] for m in result.summary["models"]}
    assert list(asked) == ["base", "base-prompted", "stage1", "stage2"]
    assert all(a == asked["base"] for a in asked.values())
    assert len(asked["base"]) == 12  # every turn of six talks; no self-cognition pair
    assert not [g for g in generations if g.dialogue_id.startswith("persona")]


def test_summary_has_every_row_of_the_original_and_keeps_speed_and_length_apart(result):
    for numbers in result.summary["models"].values():
        for key in ("bleu-4", "rouge-1", "rouge-2", "rouge-l", "loss", "bits-per-char", "runtime_s", "samples_per_s"):
            assert numbers[key] is not None
        for key in ("steps_per_s", "first_token_s", "total_s", "tokens_per_reply", "tokens_per_s", "capped"):
            assert numbers[key] is not None
        assert numbers["n"] == 12
        assert numbers["unscored"].keys().isdisjoint({"bleu-4", "rouge-1", "rouge-2", "rouge-l", "loss"})


def test_scores_name_a_generation(tiny_run, result):
    _, run = tiny_run
    known = {(r["id"], r["model"]) for r in rows(run.generations)}
    scores = [Score.from_json(r) for r in rows(run.scores)]
    assert {(s.id, s.model) for s in scores} == known
    assert len({(s.id, s.model, s.metric) for s in scores}) == len(scores)


def test_a_second_call_does_nothing(tiny_run, result):
    recipe, run = tiny_run
    again = evaluate(recipe, run)
    assert again.skipped
    assert again.summary == json.loads(json.dumps(result.summary))


def test_after_a_crash_only_missing_answers_are_made(tiny_run, result, monkeypatch):
    recipe, run = tiny_run
    before = rows(run.generations)
    run.evals.manifest_path.unlink()
    answers = run.evals.path / "answers" / "stage1.jsonl"
    lines = answers.read_text(encoding="utf-8").splitlines(keepends=True)
    answers.write_text("".join(lines[:5]) + lines[5][:30], encoding="utf-8")  # killed while writing the sixth
    made = []
    import hearmeglm.models.generate as g

    real = g.generate
    monkeypatch.setattr(
        g, "generate", lambda m, prompts, *a, **k: made.append(len(prompts)) or real(m, prompts, *a, **k)
    )
    assert not evaluate(recipe, run).skipped
    assert made == [0, 0, 7, 0]
    after = rows(run.generations)
    assert [(r["id"], r["model"], r["prediction"]) for r in after] == [
        (r["id"], r["model"], r["prediction"]) for r in before
    ]


def test_every_turn_of_some_dialogues_stands_beside_the_last_turns(tiny_run, result):
    recipe, run = tiny_run
    plan = recipe.evaluation.model_copy(update={"turns": "last", "every": 2, "models": ["base", "stage2"]})
    other = RunDir.create(run.path.with_name("beside"), recipe.model_copy(update={"evaluation": plan}))
    for step in ("data", "stage2"):
        other.step(step).path.symlink_to(run.step(step).path)
    found = evaluate(other.recipe, other).summary
    assert (found["prompts"], found["dialogues"]) == (6, 6)
    assert (found["every"]["prompts"], found["every"]["dialogues"]) == (4, 2)
    assert len(rows(other.generations)) == 12  # last turns only, so that comparisons stay comparisons of last turns
    drawn = {i.dialogue_id for i in every_turn(read_dialogues(run.data.path / "test.jsonl"), 2, recipe.seed)}
    for model, numbers in found["every"]["models"].items():
        same = [
            r["value"]
            for r in rows(run.scores)
            if r["model"] == model and r["metric"] == "rouge-l" and r["id"].split("#")[0] in drawn
        ]
        assert len(same) == numbers["n"] == 4
        assert numbers["rouge-l"] == pytest.approx(sum(same) / 4, abs=1e-4)
        assert numbers["runtime_s"] is None
    titles = [str(t.title) for t in tables(found)]
    assert ["last turns" in t for t in titles] == [True, False]


def test_heldout_loss_equals_the_models_own(tiny_run, result):
    import torch

    from hearmeglm.models.load import load_model, load_tokenizer
    from hearmeglm.models.template import find_template

    recipe, run = tiny_run
    model, tokenizer = load_model(recipe.base), load_tokenizer(recipe.base)
    template = find_template("auto", tokenizer)
    nats, tokens = 0.0, 0
    for item in draw_items(read_dialogues(run.data.path / "test.jsonl"), "every", None, recipe.seed):
        history = [Message(m.role, m.content) for m in item.messages]
        whole = template.encode([*history, Message("assistant", item.reference)], tokenizer)
        start = len(template.encode_prompt(history, tokenizer))
        labels = [-100] * start + whole.labels[start:]
        n = sum(x != -100 for x in labels)
        with torch.no_grad():
            out = model(input_ids=torch.tensor([whole.input_ids]), labels=torch.tensor([labels]))
        nats, tokens = nats + float(out.loss) * n, tokens + n
    assert result.summary["models"]["base"]["loss"] == pytest.approx(nats / tokens, rel=2e-2)


def test_items_are_the_last_or_every_turn_that_answers_a_client():
    talk = Dialogue(
        "d", (Message("assistant", "hi"), Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    )
    assert [(i.id, i.reference) for i in items_of(talk, "every")] == [("d#1", "b")]
    assert items_of(Dialogue("e", (Message("user", "a"),)), "last") == []


def test_a_draw_depends_on_content_and_seed_not_on_order():
    from train.tiny import dialogues

    many = dialogues(40, "x")
    one = draw_items(many, "last", 9, 1)
    assert {i.id for i in one} == {i.id for i in draw_items(many[::-1], "last", 9, 1)}
    assert {i.id for i in one} != {i.id for i in draw_items(many, "last", 9, 2)}


def test_a_model_elsewhere_answers_through_a_chat_model(tiny_run, monkeypatch):
    from hearmeglm.chat.scripted_model import ScriptedModel
    from hearmeglm.evals.contestants import contestants

    recipe, run = tiny_run
    items = draw_items(read_dialogues(run.data.path / "test.jsonl"), "every", None, recipe.seed)
    file = run.path / "remote.jsonl"
    replies, runtime = answering.answer_remotely(
        ScriptedModel(lambda m: m[-1].content[::-1]), contestants(recipe, run)[0], items, recipe, file
    )
    assert [r.id for r in replies] == [i.id for i in items]
    assert runtime > 0


def test_command_line(tiny_run, result, capsys):
    from typer.testing import CliRunner

    _, run = tiny_run
    done = CliRunner().invoke(app, ["evaluate", str(run.path), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["models"]["stage2"]["n"] == 12
    assert "BLEU-4" in CliRunner().invoke(app, ["evaluate", str(run.path)]).stdout
