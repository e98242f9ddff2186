"""How findings and log odds become a level, and what the client's next words may take back."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest

from hearmeglm.chat.guarded import GuardedModel
from hearmeglm.chat.model import complete
from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.recipe import Sampling
from hearmeglm.safety.decision import Found, Trust, decide
from hearmeglm.safety.guard import RULES, Guard
from hearmeglm.safety.lexicon import HIGH, IMMINENT, LOW, MODERATE, NONE
from hearmeglm.safety.listener import MAX_TOKENS, Heard, Listener
from hearmeglm.types import Message

TRUST = Trust(risk=(1, 2, 3, 4, -1, -2, 0), crisis=(0, 1, 2, 3, -1, 0, -1))
STABBED = "I got stabbed in the back today"


def found(level: int = NONE, *, framed: bool = False, bare: bool = False) -> Found:
    return Found(level, framed, bare)


@pytest.mark.parametrize(
    ("finding", "risk", "crisis", "level"),
    [
        (found(), -0.1, 0.9, NONE),
        (found(), 0.1, 0.9, LOW),
        (found(), -9.0, 1.0, MODERATE),
        (found(HIGH), -9.0, -0.9, HIGH),
        (found(HIGH), -2.9, -1.1, LOW),
        (found(HIGH, framed=True), -2.0, -0.9, LOW),
        (found(LOW, bare=True), 0.9, -9.0, NONE),
        (found(IMMINENT), -9.0, -1.9, IMMINENT),
        (found(IMMINENT), -9.0, -2.1, NONE),
    ],
)
def test_a_finding_adds_to_the_log_odds(finding: Found, risk: float, crisis: float, level: int) -> None:
    assert decide(finding, risk, crisis, TRUST) == level


@pytest.mark.parametrize("rows", [[[0.0] * 6] * 2, [[0.0] * 7] * 3, [[0.0] * 6 + [float("nan")]] * 2])
def test_damaged_numbers_are_refused(rows: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"numbers|unpack"):
        Trust.of(rows)


def a_token_a_character(text: str, **_: object) -> dict[str, list[int]]:
    return {"input_ids": [ord(c) for c in text]}


class Scripted(Listener):
    """Hears in a text the log odds of a crisis that a test wrote down for it."""

    crisis: dict[str, float]

    def hear(self, texts: Sequence[str], windows: int = 1, size: int = MAX_TOKENS) -> list[Heard]:
        return [Heard((-9.0, self.crisis.get(text, -20.0), -9.0), "suicide") for text in texts]


def hearing(crisis: dict[str, float]) -> Guard:
    shipped = Listener.load(RULES / "listener.npz")
    values: dict[str, Any] = {f.name: getattr(shipped, f.name) for f in fields(Listener)}
    listener = Scripted(**{**values, "_base": (a_token_a_character, None)})
    listener.crisis = crisis
    return replace(Guard.load(layers="rules+linear"), listener=listener)


def test_the_next_words_explain_an_alarm() -> None:
    then = "by a colleague I mean"
    session = hearing({STABBED: 20.0}).session()
    assert session.add(STABBED).crisis
    assert not session.add(then).crisis
    session = hearing({STABBED: 20.0, f"{STABBED}\n{then}": 20.0}).session()
    session.add(STABBED)
    assert session.add(then).crisis


def test_an_alarm_whose_words_are_no_longer_read_stands() -> None:
    session = hearing({STABBED: 20.0}).session()
    session.add(STABBED)
    assert session.add("and then " + "we talked on and on " * 8).crisis
    assert session.add("goodnight").crisis


ROOF = "我现在就站在楼顶，马上跳下去"


@pytest.mark.parametrize("after", [["今天天气不错"], ["没事，我随便说说", "你别当真"], ["开玩笑的"]])
def test_the_shipped_guard_does_not_take_back_what_is_imminent(after: list[str]) -> None:
    session = Guard.load().session()
    assert session.add(ROOF).level == "imminent"
    assert all(session.add(text).level == "imminent" for text in after)
    again = session.guard.session(session.to_json())
    assert again.add("今天天气不错").level == "imminent"


def test_signs_over_the_talk_are_a_finding_that_the_model_may_doubt() -> None:
    signs = ["我把猫送给朋友了，东西也都整理好了", "谢谢你一直听我说，保重", "忽然觉得很平静，什么都不重要了"]
    rules = Guard.load(layers="rules").session()
    assert [rules.add(text).crisis for text in signs][-1]
    assert not Guard.load(layers="rules").assess(signs[:1]).crisis
    doubting = hearing({})
    assert not doubting.assess(signs).crisis
    assert doubting.assess(signs).risk


def test_jerry_answers_as_on_any_day_once_an_alarm_is_explained() -> None:
    then = "by a colleague I mean"
    model = GuardedModel(ScriptedModel(["That sounds unfair."]), "US", the_guard=hearing({STABBED: 20.0}))
    asked = complete(model, [Message("user", STABBED)], Sampling()).text
    assert "988" in asked
    talk = [Message("user", STABBED), Message("assistant", asked), Message("user", then)]
    assert complete(model, talk, Sampling()).text == "That sounds unfair."
