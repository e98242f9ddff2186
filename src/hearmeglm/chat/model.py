"""The ChatModel protocol: messages in, text out, streamed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..recipe import Sampling
from ..types import Message


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a reply. The last one has a `finish_reason`: "stop" (ended by itself) or "length" (hit the cap).

    `prompt_tokens` is how many tokens the model read before it answered, on one of the pieces (the first, where the
    model knows it by then); 0 on the others, and where the model cannot tell.
    """

    text: str
    tokens: int = 1
    finish_reason: str | None = None
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply with its timing in seconds."""

    text: str
    tokens: int
    finish_reason: str
    first_token_s: float
    total_s: float


@runtime_checkable
class ChatModel(Protocol):
    """Anything that answers a talk. Closing the iterator early cancels the reply."""

    @property
    def name(self) -> str:
        """How the model is called in files and tables."""
        ...

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """Answer the last user message of `messages` piece by piece.

        Raises:
            ModelError: the prompt does not fit the model's context, or the backend refused it.
        """
        ...


def complete(model: ChatModel, messages: Sequence[Message], sampling: Sampling) -> Reply:
    """Drain `model.stream` into one Reply."""
    start = time.perf_counter()
    first: float | None = None
    pieces: list[str] = []
    tokens, finish = 0, "stop"
    for chunk in model.stream(messages, sampling):
        if first is None and chunk.text:
            first = time.perf_counter() - start
        pieces.append(chunk.text)
        tokens += chunk.tokens
        finish = chunk.finish_reason or finish
    total = time.perf_counter() - start
    return Reply("".join(pieces).strip(), tokens, finish, first if first is not None else total, total)
