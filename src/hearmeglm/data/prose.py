"""Counsellors speak, they do not write slides: lists, headings and bold in their turns become running text.

Done after the split, to what is learnt and what chooses the checkpoint; the references of the test split stay as written.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ..types import Dialogue, Message

MARK = re.compile(r"^\s{0,3}(?:#{1,6}\s*|[-*+•]\s+|>\s+|\d{1,2}[.、)）]\s*(?=\D))")
BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
ENDED = re.compile(r"[。！？；：，…!?;:,.~～\U0001f300-\U0001faff\u2600-\u27bf]$")


def prose(text: str) -> str:
    """The text with the items of each list in one paragraph, without bullets, numbers, `#` and `**`."""
    paragraphs: list[str] = []
    joined = False  # does the last paragraph go on with a next item?
    for line in BOLD.sub(r"\1", text).split("\n"):
        item = MARK.sub("", line).strip()
        marked = MARK.match(line) is not None
        if not item:
            joined = joined and marked
        elif marked and paragraphs and (joined or paragraphs[-1].endswith(("：", ":"))):
            paragraphs[-1] = _join(paragraphs[-1], item)
            joined = True
        else:
            paragraphs.append(item)
            joined = marked
    return "\n".join(paragraphs)


def _join(before: str, item: str) -> str:
    latin = item[0].isascii() and before[-1].isascii()
    if not ENDED.search(before):
        before += ";" if latin else "；"
    return f"{before} {item}" if latin else before + item


def speak(dialogue: Dialogue) -> tuple[Dialogue, int]:
    """The dialogue with its counsellor's turns as running text, and how many of them were changed."""
    messages = tuple(
        Message(m.role, prose(m.content)) if m.role == "assistant" and _marked(m.content) else m
        for m in dialogue.messages
    )
    changed = sum(new is not old for new, old in zip(messages, dialogue.messages, strict=True))
    return (replace(dialogue, messages=messages), changed) if changed else (dialogue, 0)


def _marked(text: str) -> bool:
    return BOLD.search(text) is not None or any(MARK.match(line) for line in text.split("\n"))
