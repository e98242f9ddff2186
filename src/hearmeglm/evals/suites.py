"""Suites: questions of our own writing, committed with their digest before any model that they score is trained.

A suite is `suites/NAME.jsonl`; `suites/NAME.sha256` holds its digest. A later edit gives another digest and resets every
figure made with the older one, since each result names the digest that it was made with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import read_jsonl, sha256_file
from ..recipe import Persona

FOLDER = Path(__file__).parent / "suites"


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite's rows and the digest of its file."""

    name: str
    digest: str
    rows: tuple[dict[str, Any], ...]


def load_suite(name: str, persona: Persona | None = None) -> Suite:
    """A packaged suite; `{name}` and `{developer}` in its texts are filled in from `persona`.

    Raises:
        DataError: no such suite, or its file is not the one whose digest was committed.
    """
    path = FOLDER / f"{name}.jsonl"
    if not path.is_file():
        have = ", ".join(sorted(p.stem for p in FOLDER.glob("*.jsonl")))
        raise DataError(f"expected a suite, found none named {name!r}", hint=f"have: {have}")
    digest = sha256_file(path)
    expected = (FOLDER / f"{name}.sha256").read_text(encoding="utf-8").split()[0]
    if digest != expected:
        raise DataError(
            f"expected the suite with sha256 {expected[:12]}…, found {digest[:12]}…",
            where=str(path),
            hint="restore it, or commit the new digest and measure again",
        )
    who = persona or Persona()
    return Suite(name, digest, tuple(_fill(row, who) for _, row in read_jsonl(path)))


def _fill(value: Any, persona: Persona) -> Any:
    if isinstance(value, str):
        return value.replace("{name}", persona.name).replace("{developer}", persona.developer)
    if isinstance(value, list):
        return [_fill(v, persona) for v in value]
    if isinstance(value, dict):
        return {k: _fill(v, persona) for k, v in value.items()}
    return value
