"""The report's words: YAML tables with a Chinese and an English text a key, side by side so that neither is forgotten."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .. import phrases
from .blocks import Lang

FOLDER = Path(__file__).parent / "words"


@cache
def table() -> dict[str, dict[str, str]]:
    """All words: key -> {"zh": …, "en": …}, from every file of the folder."""
    out: dict[str, dict[str, str]] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for key, pair in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            # curly quotes are full-width in a CJK font: right in Chinese, wrong in English
            english = str(pair["en"]).strip().translate({0x201C: '"', 0x201D: '"', 0x2018: "'", 0x2019: "'"})
            out[key] = {"zh": str(pair["zh"]).strip(), "en": english}
    return out


class Words:
    """Texts in one language. Unknown keys are a fault of ours and raise KeyError."""

    def __init__(self, lang: Lang) -> None:
        self.lang: Lang = lang

    def __call__(self, key: str, **values: Any) -> str:
        text = table()[key][self.lang]
        return text.format(**values) if values else text

    def known(self, key: str, fallback: str) -> str:
        """The text of `key`, or `fallback` where there is none (names that come from data)."""
        return table()[key][self.lang] if key in table() else fallback

    def said(self, text: str) -> str:
        """What the package or a recipe said in English, in this language where the phrase book knows it."""
        return phrases.said(text, self.lang)

    def lines(self, key: str) -> tuple[str, ...]:
        """A text of several lines, as a list."""
        return tuple(line.strip() for line in self(key).splitlines() if line.strip())


def number(value: float | int | None, form: str = "") -> str:
    """A number as it is printed in every language: `–` if unknown, thousands by thin commas, 4 decimals for fractions.

    Args:
        form: a format specification; empty: integers with commas, others with 4 decimals.
    """
    if value is None:
        return "–"
    if form:
        return format(value, form)
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 1000):
        return format(int(value), ",d")
    if abs(value) >= 1e7:
        return format(value, ".3g")
    return format(value, ",.4f")


def percent(part: float, whole: float) -> str:
    """`part` of `whole` in percent with one decimal; `–` of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else "–"
