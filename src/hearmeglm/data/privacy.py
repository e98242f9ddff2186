"""Interim: see the next commit."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..types import Dialogue, Message


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of personal data; offsets in code points of the input."""

    type: str
    value: str
    start: int
    end: int


class Scrubber:
    """Replaces personal data."""

    def __init__(self, keep: tuple[str, ...] = ()) -> None:
        self.keep = keep

    def text(self, text: str) -> tuple[str, list[Span]]:
        spans = [Span("PHONE", m[0], m.start(), m.end()) for m in re.finditer(r"(?<!\d)1[3-9]\d{9}(?!\d)", text)]
        for s in reversed(spans):
            text = text[: s.start] + "某个号码" + text[s.end :]
        return text, spans

    def dialogue(self, dialogue: Dialogue) -> tuple[Dialogue, list[Span]]:
        """Scrub every message."""
        spans: list[Span] = []
        messages = []
        for m in dialogue.messages:
            text, found = self.text(m.content)
            spans += found
            messages.append(Message(m.role, text))
        return Dialogue(dialogue.id, tuple(messages), dialogue.source, dialogue.meta), spans
