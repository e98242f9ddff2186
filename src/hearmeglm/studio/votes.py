"""Votes of the A/B chat, kept only with consent: preference pairs for training, and replies for the blinded human sheet.

RUN/votes/votes.jsonl   every vote: prompt, both replies, models, what stood where, the choice
RUN/votes/pairs.jsonl   decided ones as preference pairs, {"prompt": [messages], "chosen": [message], "rejected": [message]}
RUN/votes/sheet/        the human sheet made from them (`hearme judge --import-sheet` reads it back)
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..evals.judge.human import write_sheet
from ..evals.judge.sources import Judged
from ..files import read_jsonl
from ..run import RunDir
from ..types import Message, messages_from_json
from .talk import Talk

CHOICES = ("a", "b", "tie", "bad")


def store(run: Path, talk: Talk, system: str = "") -> None:
    """Keep the vote about a talk's last turn."""
    turn = talk.turns[-1]
    before = Talk(talk.turns[:-1]).history()
    prompt = [
        *([Message("system", system.strip())] if (system or "").strip() else []),
        *before,
        Message("user", turn.said),
    ]
    messages = [m.to_json() for m in prompt]
    sides = [{"model": turn.refs[i], "reply": turn.replies[i]} for i in turn.order]
    at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    vote = {
        "id": f"{talk.id}#{len(talk.turns) - 1}",
        "at": at,
        "blind": turn.blind,
        "prompt": messages,
        "a": sides[0],
        "b": sides[1],
        "vote": turn.vote,
    }
    _append(run / "votes" / "votes.jsonl", vote)
    if turn.vote in ("a", "b"):
        good, poor = (sides[0], sides[1]) if turn.vote == "a" else (sides[1], sides[0])
        pair = {"prompt": messages, "chosen": [_said(good)], "rejected": [_said(poor)]}
        _append(run / "votes" / "pairs.jsonl", pair)


def count(run: Path) -> int:
    """Votes kept so far."""
    path = run / "votes" / "votes.jsonl"
    return sum(1 for _ in read_jsonl(path)) if path.is_file() else 0


def human_sheet(run: RunDir) -> dict[str, Path]:
    """The blinded sheet of all replies that were voted on.

    Raises:
        RunError: no votes yet.
    """
    path = run.path / "votes" / "votes.jsonl"
    if not path.is_file():
        raise RunError(
            "expected stored votes, found none", where=str(run.path), hint="vote in the chat with consent given"
        )
    items = [
        Judged(v["id"], v["id"].split("#")[0], v[side]["model"], messages_from_json(v["prompt"]), v[side]["reply"])
        for _, v in read_jsonl(path)
        for side in ("a", "b")
    ]
    return write_sheet(items, path.parent / "sheet", seed=run.recipe.seed)


def _said(side: dict[str, str]) -> dict[str, str]:
    return {"role": "assistant", "content": side["reply"]}


def _append(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
        out.flush()
        os.fsync(out.fileno())
