"""Talks, votes and streams behind the Chat tab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hearmeglm.errors import ModelError, RunError
from hearmeglm.files import read_json
from hearmeglm.recipe import Sampling
from hearmeglm.recipe_file import load_recipe
from hearmeglm.run import RunDir
from hearmeglm.studio import votes, words
from hearmeglm.studio.models import Models, Stream, together
from hearmeglm.studio.talk import Talk, Turn, choices, export_text, opponents
from hearmeglm.types import Message

SAMPLING = Sampling.model_validate({})


class Counting:
    """Says the numbers, or breaks."""

    name = "counting"

    def __init__(self, upto: int, error: Exception | None = None) -> None:
        self.upto, self.error, self.said = upto, error, 0

    def stream(self, messages, sampling):
        from hearmeglm.chat.model import Chunk

        for n in range(self.upto):
            self.said = n + 1
            yield Chunk(f"{n} ")
        if self.error:
            raise self.error
        yield Chunk("", 0, "stop")


def test_two_replies_grow_together():
    a, b = (Stream(Counting(n), [Message("user", "hi")], SAMPLING) for n in (3, 5))
    for _ in together([a, b]):
        pass
    assert (a.text, b.text) == ("0 1 2 ", "0 1 2 3 4 ")
    assert b.finish_reason == "stop"


def test_a_broken_model_is_told_after_the_other_has_ended():
    good, bad = Stream(Counting(3), [], SAMPLING), Stream(Counting(1, ModelError("no room")), [], SAMPLING)
    with pytest.raises(ModelError, match="no room"):
        list(together([good, bad]))
    assert good.text == "0 1 2 "


def test_leaving_stops_the_models():
    model = Counting(10**9)
    stream = Stream(model, [], SAMPLING)
    reading = together([stream])
    next(reading)
    reading.close()
    while stream.step(1.0):
        pass
    assert model.said < 10**9


def test_models_are_kept_and_the_oldest_goes(monkeypatch):
    opened = []
    monkeypatch.setattr("hearmeglm.studio.models.open_model", lambda ref: opened.append(ref) or Counting(1))
    models = Models()
    for ref in ("a", "b", "c", "a", "d", "b"):
        models.get(ref)
    assert opened == ["a", "b", "c", "d", "b"]


def _talk(vote: str, order: list[int]) -> Talk:
    return Talk([Turn("我很难过", ["底座说", "杰瑞说"], ["run:base", "run:stage2"], order, blind=True, vote=vote)])


@pytest.mark.parametrize(
    ("vote", "order", "kept"),
    [
        ("", [0, 1], "杰瑞说"),
        ("a", [0, 1], "底座说"),
        ("a", [1, 0], "杰瑞说"),
        ("b", [1, 0], "底座说"),
        ("tie", [1, 0], "杰瑞说"),
    ],
)
def test_the_chosen_reply_goes_on(vote, order, kept):
    assert _talk(vote, order).history()[-1].content == kept


def test_votes_become_pairs_and_the_human_sheet(tmp_path):
    run = RunDir.create(tmp_path / "run", load_recipe("demo"))
    with pytest.raises(RunError, match="votes"):
        votes.human_sheet(run)
    votes.store(run.path, _talk("a", [1, 0]), "要温和")
    votes.store(run.path, _talk("tie", [1, 0]))
    assert votes.count(run.path) == 2
    (pair,) = [json.loads(x) for x in (run.path / "votes" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [m["role"] for m in pair["prompt"]] == ["system", "user"]
    assert pair["chosen"] == [{"role": "assistant", "content": "杰瑞说"}]
    assert pair["rejected"] == [{"role": "assistant", "content": "底座说"}]
    paths = votes.human_sheet(run)
    sheet = paths["csv"].read_text(encoding="utf-8-sig")
    assert "杰瑞说" in sheet
    assert "stage2" not in sheet


def test_export_and_choices(tmp_path, monkeypatch):
    monkeypatch.setenv("HEARME_CACHE", str(tmp_path / "cache"))
    out = read_json(Path(export_text(_talk("", [0, 1]), "", words.load("zh"))))
    assert [m["role"] for m in out["messages"]] == ["user", "assistant"]
    run = RunDir.create(tmp_path / "run", load_recipe("demo"))
    assert choices(run, words.load("en"))[0] == ("run · base", f"{run.path}:base")
    tuned = choices(run, words.load("en"))[-1][1]
    # a message sent before the page has filled in its lists still goes to two different models
    assert opponents(run, words.load("en")) == (f"{run.path}:base", tuned)
    assert opponents(run, words.load("en"), "starter") == ("starter", tuned)
    assert opponents(None, words.load("en")) == ("starter", "jerry-270m")


def test_no_markup_of_a_model_or_client_takes_effect_in_the_columns():
    hostile = "<img src=//elsewhere/x> 5 < 6 &lt; Q & A <!-- x --> </p> <3"
    talk = Talk([Turn(hostile, ["", hostile], ["base", "tuned"], [0, 1])])
    left, right = talk.shown()
    assert [m["content"] for m in [*left, *right]] == [
        "&lt;img src=//elsewhere/x> 5 < 6 &amp;lt; Q & A &lt;!-- x --> &lt;/p> <3"
    ] * 3
    assert talk.history()[0].content == hostile
