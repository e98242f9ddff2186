"""Answers kept as they come: an append-only file per model, so that a crash or a second run repeats nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..files import write_jsonl


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply as it was made.

    Attributes:
        key: digest of everything that decides the reply (prompt ids, sampling, weights).
        session, at: which sitting made it, and how many seconds after the sitting's start.
    """

    key: str
    text: str
    tokens: int
    finish_reason: str
    first_token_s: float
    total_s: float
    session: str
    at: float


class AnswerFile:
    """Answers by key, on disk; a line cut short by a crash is dropped, the lines before it stay."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found = {a.key: a for a in self._read()}
        if self._found:
            write_jsonl(path, (asdict(a) for a in self._found.values()))  # mends a torn last line
        self._session = f"{os.getpid()}-{time.time_ns()}"
        self._start = time.perf_counter()

    def _read(self) -> Iterator[Answer]:
        if not self.path.is_file():
            return
        with open(self.path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    yield Answer(**json.loads(line))
                except (ValueError, TypeError):
                    continue

    def get(self, key: str) -> Answer | None:
        """The answer for `key`, if it is known."""
        return self._found.get(key)

    def start(self) -> None:
        """Answering begins now (loading the model does not count as runtime)."""
        self._start = time.perf_counter()

    def add(self, key: str, text: str, **fields: Any) -> None:
        """Keep an answer: it is on disk when this returns."""
        answer = Answer(
            key=key, text=text, session=self._session, at=round(time.perf_counter() - self._start, 4), **fields
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8", newline="\n") as out:
            out.write(json.dumps(asdict(answer), ensure_ascii=False) + "\n")
            out.flush()
        self._found[key] = answer

    def runtime_s(self, keys: set[str]) -> float:
        """Seconds that answering `keys` took, summed over sittings."""
        last: dict[str, float] = {}
        for key in keys:
            if (a := self._found.get(key)) is not None:
                last[a.session] = max(last.get(a.session, 0.0), a.at)
        return sum(last.values())
