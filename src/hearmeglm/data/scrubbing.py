"""`hearme data scrub`: a JSONL file of texts or dialogues in, the same lines without personal data out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import atomic_open
from .decode import Unreadable, json_values
from .privacy import Scrubber, Span
from .records import shorten


@dataclass
class Scrubbed:
    """What was done: lines written, spans by type, warnings about the file."""

    lines: int = 0
    spans: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"lines": self.lines, "spans": dict(self.spans.most_common()), "warnings": self.warnings}


def scrub_file(source: Path, target: Path, scrubber: Scrubber, each: Callable[[], None] = lambda: None) -> Scrubbed:
    """Scrub every line of a JSON Lines file, or every record of a JSON list, and write JSON Lines.

    A line with `text` gets its text scrubbed and `spans` (offsets in code points of the input text). A line with `messages`,
    `conversations`, `conversation`, `dialog` or Alpaca's fields gets every text in it scrubbed; its spans name the place (`in`).
    Other fields stay as they are. The file appears only when all lines are done.

    Raises:
        DataError: a line that cannot be read, or has nothing to scrub (the line is named).
    """
    done = Scrubbed()
    if not source.is_file():
        raise DataError("expected a JSON Lines file, found nothing", where=str(source), hint="check --in")
    with atomic_open(target) as out:
        try:
            for place, value in json_values(source, lambda reason, detail: done.warnings.append(reason)):
                rows = list(enumerate(value, 1)) if isinstance(value, list) and not place else [(0, value)]
                for row, item in rows:
                    where = f"{source}:{place or row or 1}"
                    if isinstance(item, Unreadable):
                        raise DataError(str(item), where=where)
                    result = scrub_record(item, scrubber, where)
                    done.spans.update(s["type"] for s in result["spans"])
                    out.write(json.dumps(result, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n")
                    done.lines += 1
                    each()
        except Unreadable as err:
            raise DataError(str(err), where=str(source)) from None
    return done


def scrub_record(item: Any, scrubber: Scrubber, where: str = "record") -> dict[str, Any]:
    """One record scrubbed, with its `spans`.

    Raises:
        DataError: no text in it.
    """
    if not isinstance(item, dict):
        raise DataError(f"expected an object with `text` or a dialogue, found {shorten(str(item), 40)}", where=where)
    if isinstance(item.get("text"), str):
        text, spans = scrubber.text(item["text"])
        return {**item, "text": text, "spans": [s.to_json() for s in spans]}
    found: list[dict[str, Any]] = []

    def clean(value: Any, path: str) -> Any:
        if isinstance(value, str):
            text, spans = scrubber.text(value)
            found.extend({**s.to_json(), "in": path} for s in spans)
            return text
        if isinstance(value, list):
            return [clean(v, f"{path}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, dict):
            return {k: clean(v, f"{path}.{k}") if k in _TEXT_KEYS else v for k, v in value.items()}
        return value

    keys = [k for k in _DIALOGUE_KEYS if k in item]
    if not keys:
        raise DataError(
            f"expected the field `text` or a dialogue, found {', '.join(map(str, list(item)[:6])) or 'no field'}",
            where=where,
        )
    return {**item, **{k: clean(item[k], k) for k in keys}, "spans": found}


_DIALOGUE_KEYS = ("messages", "conversations", "conversation", "dialog", "instruction", "input", "output", "history")
_TEXT_KEYS = {"content", "value", "input", "output", "system"}

__all__ = ["Scrubbed", "Span", "scrub_file", "scrub_record"]
