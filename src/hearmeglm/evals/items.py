"""What is asked: prompts and reference answers drawn from the held-out dialogues of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import DataError
from ..files import read_jsonl
from ..recipe import PERSONA_SOURCE
from ..types import Dialogue, Message

SKIPPED_KINDS = frozenset({"self-cognition", "crisis"})
"""Kinds with suites of their own: their pairs would flatter or distort the before/after comparison of counselling."""


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt and its reference answer.

    Attributes:
        id: dialogue id + `#` + turn.
        turn: counsellor turn answered, from 0.
        messages: the history, ending with a user message.
        reference: what the counsellor said in the data.
    """

    id: str
    dialogue_id: str
    turn: int
    messages: tuple[Message, ...]
    reference: str


def read_dialogues(path: Path) -> list[Dialogue]:
    """Dialogues of a `messages` JSON Lines file; raises DataError with the line that is not one."""
    out = []
    for number, row in read_jsonl(path):
        try:
            out.append(Dialogue.from_json(row))
        except (KeyError, TypeError, ValueError) as err:
            raise DataError(
                f"expected a dialogue (id, messages), found a fault: {err}", where=f"{path}:{number}"
            ) from None
    return out


def items_of(dialogue: Dialogue, turns: Literal["last", "every"]) -> list[Item]:
    """The last counsellor turn, or each that answers a client; none if nobody asked."""
    out, turn = [], -1
    for at, message in enumerate(dialogue.messages):
        if message.role != "assistant":
            continue
        turn += 1
        history = dialogue.messages[:at]
        if history and history[-1].role == "user":
            out.append(Item(f"{dialogue.id}#{turn}", dialogue.id, turn, history, message.content))
    return out[-1:] if turns == "last" else out


def draw_items(
    dialogues: Iterable[Dialogue], turns: Literal["last", "every"], limit: int | None, seed: int
) -> list[Item]:
    """Items of the counselling dialogues; with a limit, whole dialogues drawn by content and seed until it is reached.

    The draw does not depend on the order of the file, and the same seed gives the same items to every model.
    """
    wanted = counselling(dialogues)
    if limit is None:
        return [item for d in wanted for item in items_of(d, turns)]
    drawn: list[Item] = []
    for d in shuffled(wanted, seed):
        drawn += items_of(d, turns)
        if len(drawn) >= limit:
            break
    return drawn[:limit]


def every_turn(dialogues: Iterable[Dialogue], count: int, seed: int) -> list[Item]:
    """Every counsellor turn of the first `count` dialogues in the order of `draw_items`."""
    return [item for d in shuffled(counselling(dialogues), seed)[:count] for item in items_of(d, "every")]


def counselling(dialogues: Iterable[Dialogue]) -> list[Dialogue]:
    """Those that the comparison is about; the others have suites of their own."""
    return [d for d in dialogues if d.source != PERSONA_SOURCE and d.meta.get("kind") not in SKIPPED_KINDS]


def shuffled(dialogues: Sequence[Dialogue], seed: int) -> list[Dialogue]:
    """An order that depends only on the dialogues' ids and the seed."""
    return sorted(dialogues, key=lambda d: hashlib.sha256(f"{seed}:{d.id}".encode("utf-8", "surrogatepass")).digest())
