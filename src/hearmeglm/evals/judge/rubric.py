"""The rubric file, and the prompts made from it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ...errors import UserError
from ...files import sha256_file
from ...types import Message

PATH = Path(__file__).parent / "rubric.yaml"
LABELS = {"user": "Client", "assistant": "Counselor"}


@lru_cache(maxsize=1)
def rubric() -> dict[str, Any]:
    """The rubric as data."""
    tree: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    return tree


def digest() -> str:
    """Sha256 of the rubric file: scores of different rubrics do not compare."""
    return sha256_file(PATH)


def ranges() -> dict[str, int]:
    """Criterion -> highest score, in the order of the answer format."""
    return {name: int(c["max"]) for name, c in rubric()["criteria"].items()}


def mode(name: str) -> dict[str, str]:
    """A scoring mode; raises UserError if there is none of that name."""
    modes: dict[str, dict[str, str]] = rubric()["modes"]
    if name not in modes:
        raise UserError(f"expected a judge mode of {', '.join(modes)}, found {name!r}", where="--mode")
    return modes[name]


def render(history: Sequence[Message]) -> str:
    """History as "Client: …" / "Counselor: …" lines; system messages are not shown."""
    return "\n".join(f"{LABELS[m.role]}: {strip_delimiters(m.content)}" for m in history if m.role in LABELS)


def strip_delimiters(text: str) -> str:
    """`text` without the judge's own delimiters, so that no reply can close its own box; repeated until none is left."""
    marks: list[str] = rubric()["delimiters"]
    while any(m in text for m in marks):
        for m in marks:
            text = text.replace(m, "")
    return text


def score_prompt(name: str, history: Sequence[Message], reply: str) -> list[dict[str, str]]:
    """The messages that ask for a verdict on one reply."""
    texts = mode(name)
    return [
        {"role": "system", "content": texts["system"].replace("{history}", render(history))},
        {"role": "user", "content": texts["user"].replace("{reply}", strip_delimiters(reply))},
    ]


def pair_prompt(history: Sequence[Message], first: str, second: str) -> list[dict[str, str]]:
    """The messages that ask which of two replies is better."""
    texts = rubric()["pairwise"]
    user = texts["user"].replace("{first}", strip_delimiters(first), 1).replace("{second}", strip_delimiters(second), 1)
    return [
        {"role": "system", "content": texts["system"].replace("{history}", render(history))},
        {"role": "user", "content": user},
    ]
