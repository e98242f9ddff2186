"""The packaged corpus of our own writing (CC BY 4.0): files `corpus/*.jsonl`, placeholders filled from the hotline table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..files import read_jsonl
from ..safety import hotlines

CORPUS = Path(__file__).with_name("corpus")
LICENCE = "CC BY 4.0"
REGIONS = {"zh": "CN", "en": "US"}
"""Whose numbers fill the placeholders of training texts. Only an example to learn from: when Jerry talks, the guard shows the
numbers of the region that the user chose."""

Fill = Callable[[str, str], str]
"""(text, language) -> text without placeholders."""


def fill_placeholders(text: str, lang: str) -> str:
    """Put numbers for `{crisis_line}` and `{emergency}`: the first row of each kind in the language's example region."""
    if "{" not in text:
        return text
    region = REGIONS.get(lang, REGIONS["en"])
    for placeholder, serves in (
        ("{crisis_line}", "crisis"),
        ("{emergency}", "emergency"),
        ("{youth_line}", "youth"),
        ("{abuse_line}", "abuse"),
    ):
        if placeholder in text:
            rows = [
                r for r in hotlines.get(region, (serves,)) if serves != "emergency" or _medical(r.number)
            ] or hotlines.get(region, ("crisis",))
            text = text.replace(placeholder, rows[0].number)
    return text


def _medical(number: str) -> bool:
    """Mainland China has separate police (110) and ambulance (120) numbers; the ambulance is meant."""
    return number != "110"


def files() -> list[Path]:
    """The corpus files in a fixed order."""
    return sorted(CORPUS.glob("*.jsonl"))


def client_talks() -> list[tuple[str, list[str]]]:
    """(language, the client's messages) of every dialogue that is no crisis, in the corpus's order."""
    rows = [row for file in files() for _, row in read_jsonl(file) if row["kind"] != "crisis"]
    return [(row["lang"], [m["content"] for m in row["messages"] if m["role"] == "user"]) for row in rows]
