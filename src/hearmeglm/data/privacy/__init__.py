"""Privacy: find personal data and put readable placeholders in its place.

    clean, spans = Scrubber().text("我叫李晓明，电话13812345678")      # 我叫某某，电话某个号码

Types: NAME PHONE ADDRESS WORKPLACE EMAIL URL ID_CARD WECHAT PLATE BANK_CARD QQ IP. Hotlines, dates, ages, prices and public figures
stay. A value is removed as a whole, wherever it stands in the text; outside the spans no character is changed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ...errors import DataError
from ...types import Dialogue, Message
from . import names, numbers, places
from .span import TYPES, Span

ZH = {"NAME": "某某", "PHONE": "某个号码", "ADDRESS": "某处", "WORKPLACE": "某单位", "EMAIL": "某个邮箱", "URL": "某个链接", "ID_CARD": "某证件号", "WECHAT": "某个微信号", "PLATE": "某车牌", "BANK_CARD": "某卡号", "QQ": "某个QQ号", "IP": "某个IP"}  # fmt: skip
EN = {"NAME": "someone", "PHONE": "a phone number", "ADDRESS": "an address", "WORKPLACE": "a certain place", "EMAIL": "an inbox", "URL": "a URL", "ID_CARD": "an ID number", "WECHAT": "some ID", "PLATE": "a licence plate", "BANK_CARD": "a card number", "QQ": "a QQ number", "IP": "an IP"}  # fmt: skip
_PRIORITY = {
    t: i
    for i, t in enumerate(
        ("EMAIL", "URL", "ID_CARD", "BANK_CARD", "PHONE", "WECHAT", "QQ", "PLATE", "IP", "ADDRESS", "WORKPLACE", "NAME")
    )
}
_SCHOOL = re.compile(r"学|[一二三四五六七八九十\d]中|附中|附小")
_VOCATIVE_ZH = re.compile(r"[，,]\s*某某(?=[，。！？,.!?…]|$)|^某某[，,]\s*")
_VOCATIVE_EN = re.compile(
    r"(?<=\b[Hh]i),? someone\b|(?<=\b[Hh]ey),? someone\b|(?<=\b[Hh]ello),? someone\b|, someone(?=[,.!?])"
)


@dataclass(frozen=True)
class Scrubber:
    """Finds and replaces personal data.

    Attributes:
        types: which of `TYPES` are replaced.
        keep: names that stay (the persona's).
    """

    types: Collection[str] = TYPES
    keep: Collection[str] = ()
    _keep: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        wrong = sorted(set(self.types) - set(TYPES))
        if wrong:
            raise DataError(
                f"expected types of personal data, found {wrong[0]!r}", where="types", hint=f"any of {' '.join(TYPES)}"
            )
        object.__setattr__(self, "_keep", frozenset(k.lower() for k in self.keep))

    def find(self, text: str) -> list[Span]:
        """The spans of a text in order, not overlapping."""
        folded = numbers.fold(text)
        found = list(numbers.find(text, folded))
        found += [Span(s.type, text[s.start : s.end], s.start, s.end) for s in places.find(folded)]
        found += [Span(s.type, text[s.start : s.end], s.start, s.end) for s in names.find(folded)]
        found = [s for s in found if s.type in self.types and s.end > s.start and s.value.lower() not in self._keep]
        return _settle(text, found + _repeats(text, found))

    def text(self, text: str) -> tuple[str, list[Span]]:
        """(scrubbed text, spans of the input)."""
        spans = self.find(text)
        return _replace(text, spans), spans

    def dialogue(self, dialogue: Dialogue) -> tuple[Dialogue, list[Span]]:
        """A dialogue for training: names found in one turn go from all turns, and forms of address by name are left out.

        Returns:
            The dialogue (the same object if nothing was found) and the spans of all turns.
        """
        per_turn = [self.find(m.content) for m in dialogue.messages]
        if not any(per_turn):
            return dialogue, []
        known = [s for spans in per_turn for s in spans if s.type == "NAME" and len(s.value) >= 2]
        messages, everything = [], list[Span]()
        for message, spans in zip(dialogue.messages, per_turn, strict=True):
            text = message.content
            spans = _settle(text, [*spans, *_repeats(text, known)])
            clean = _replace(text, spans)
            if any(s.type == "NAME" for s in spans):
                clean = _VOCATIVE_EN.sub("", _VOCATIVE_ZH.sub("", clean)).strip() or clean
            everything += spans
            messages.append(Message(message.role, clean))
        return Dialogue(dialogue.id, tuple(messages), dialogue.source, dialogue.meta), everything


def _repeats(text: str, found: Iterable[Span]) -> list[Span]:
    """Every further place where a value, or the given name of a full name, stands in the text."""
    values: dict[str, str] = {}
    for span in found:
        value = span.value.strip()
        if span.type == "NAME":
            if value.isascii():
                for part in (value, *re.split(r"[\s-]+", value)):
                    if len(part) >= 3:
                        values[part] = "NAME"
            elif len(value) >= 2:
                values[value] = "NAME"
                if len(value) >= 3:
                    values[value[-2:]] = "NAME"
        elif len(value) >= 4:
            values[value] = span.type
    out = []
    for value, type in values.items():
        pattern = (
            rf"\b{re.escape(value)}\b"
            if value.isascii() and value[0].isalnum() and value[-1].isalnum()
            else re.escape(value)
        )
        flags = re.ASCII
        out += [Span(type, text[m.start() : m.end()], m.start(), m.end()) for m in re.finditer(pattern, text, flags)]
    return out


def _settle(text: str, spans: Iterable[Span]) -> list[Span]:
    """Of overlapping spans the stronger type stays, widened to what the others covered; touching names of one type are joined."""
    chosen: list[Span] = []
    for span in sorted(set(spans), key=lambda s: (s.start, -s.end, _PRIORITY[s.type])):
        if chosen and span.start < chosen[-1].end:
            last = chosen[-1]
            type = min(last.type, span.type, key=lambda t: _PRIORITY[t])
            end = max(last.end, span.end)
            chosen[-1] = Span(type, text[last.start : end], last.start, end)
        else:
            chosen.append(span)
    return chosen


def _replace(text: str, spans: list[Span]) -> str:
    words = ZH if re.search("[\u4e00-\u9fff]", text) else EN
    parts, position = [], 0
    pieces = {piece for span in spans for piece in _pieces(span.value)}
    for span in spans:
        placeholder = words[span.type]
        if span.type == "NAME" and len(span.value) == 1:
            placeholder = "某"
        elif span.type == "WORKPLACE" and words is ZH and _SCHOOL.search(span.value):
            placeholder = "某校"
        if any(piece in placeholder.lower() for piece in pieces):  # a placeholder must not say a part of what it hides
            placeholder = "某" if words is ZH else "X"
        parts += [text[position : span.start], placeholder]
        position = span.end
    return "".join([*parts, text[position:]])


def _pieces(value: str) -> list[str]:
    """What must not survive of a value: four letters or digits in a row, two Han characters in a row."""
    low = value.lower()
    four = [low[i : i + 4] for i in range(len(low) - 3) if low[i : i + 4].isalnum() and low[i : i + 4].isascii()]
    return four + [
        low[i : i + 2] for i in range(len(low) - 1) if all("\u4e00" <= c <= "\u9fff" for c in low[i : i + 2])
    ]


__all__ = ["EN", "TYPES", "ZH", "Scrubber", "Span"]
