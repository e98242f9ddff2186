"""A ChatModel that says what it was told to: for tests and dry runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..recipe import Sampling
from ..types import Message
from .model import Chunk


class ScriptedModel:
    """Answers from a list (in turn, then from the start again) or a function of the messages.

    Streams one character a chunk and obeys `max_new_tokens`, a character counting as a token (in the prompt, too).
    """

    def __init__(self, replies: Sequence[str] | Callable[[Sequence[Message]], str], name: str = "scripted") -> None:
        if not callable(replies) and not replies:
            raise ValueError("expected at least one reply")
        self._replies, self.name, self._next = replies, name, 0

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        if callable(self._replies):
            text = self._replies(messages)
        else:
            text = self._replies[self._next % len(self._replies)]
            self._next += 1
        read = sum(len(m.content) for m in messages)
        for i, character in enumerate(text):
            if i == sampling.max_new_tokens:
                yield Chunk("", 0, "length", read)
                return
            yield Chunk(character)
        yield Chunk("", 0, "stop", read)
