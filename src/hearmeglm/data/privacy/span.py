"""A piece of personal data in a text."""

from __future__ import annotations

from dataclasses import dataclass

TYPES = ("NAME", "PHONE", "ADDRESS", "WORKPLACE", "EMAIL", "URL", "ID_CARD", "WECHAT", "PLATE", "BANK_CARD", "QQ", "IP")


@dataclass(frozen=True, slots=True)
class Span:
    """What was found and where; offsets in code points of the input."""

    type: str
    value: str
    start: int
    end: int

    def to_json(self) -> dict[str, str | int]:
        return {"type": self.type, "value": self.value, "start": self.start, "end": self.end}
