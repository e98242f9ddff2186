"""Answers for a file of talks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import read_jsonl, write_jsonl
from ..recipe import Sampling
from ..types import Message
from .model import ChatModel, complete


def answer_file(open_session: Callable[[], ChatModel], infile: Path, out: Path, max_new_tokens: int) -> int:
    """Answer every `{"id", "turns": [user messages]}` line of `infile`, greedy and without a system prompt.

    Each turn is answered in order, earlier answers being part of the talk; `out` gets `{"id", "answer", "answers"}`
    (the last answer, and all of them), atomically at the end.

    Args:
        open_session: called once a talk, so that a guarded model starts each with a fresh state.

    Returns:
        The number of talks.

    Raises:
        DataError: a line without `id` and `turns`.
    """
    talks = [_talk(obj, f"{infile}:{line}") for line, obj in read_jsonl(infile)]
    sampling = Sampling(max_new_tokens=max_new_tokens)
    return write_jsonl(out, _answers(open_session, talks, sampling))


def _answers(
    open_session: Callable[[], ChatModel], talks: list[tuple[Any, list[str]]], sampling: Sampling
) -> Iterator[dict[str, Any]]:
    from rich.console import Console
    from rich.progress import track

    for key, turns in track(talks, "answering", console=Console(stderr=True)):
        session = open_session()
        messages: list[Message] = []
        answers = []
        for turn in turns:
            messages.append(Message("user", turn))
            answers.append(complete(session, messages, sampling).text)
            messages.append(Message("assistant", answers[-1]))
        yield {"id": key, "answer": answers[-1], "answers": answers}


def _talk(obj: dict[str, Any], where: str) -> tuple[Any, list[str]]:
    turns = obj.get("turns")
    if "id" not in obj or not isinstance(turns, list) or not turns or not all(isinstance(t, str) for t in turns):
        raise DataError('expected {"id": …, "turns": [at least one user message]}', where=where)
    return obj["id"], turns
