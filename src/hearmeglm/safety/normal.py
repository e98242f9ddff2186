"""One spelling for the rules: width, script, blanks, slang, pinyin and typing errors of danger words.

    normalise("我 想 自·殺") == "我想自杀"        normalise("I don’t wanna b here, kms") -> "... kill myself"

The table is `rules/normal.yaml`. Normalising never makes a text longer than a few times its size and never raises.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .prefilter import Scanner

CJK = "㐀-鿿"
_HIDDEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060\ufeff\u00ad\ufe0f]")
_GAP = re.compile(rf"(?<=[{CJK}])[ \t*·_\-~|+#/.・　]+(?=[{CJK}])")
_STOP = re.compile(rf"(?<=[{CJK}])[,?!:;]|[,?!:;](?=[{CJK}])")
_WIDE = {",": "，", "?": "？", "!": "！", ":": "：", ";": "；"}
_SPELLED = re.compile(r"\b(?:[a-z][ .\-_*]){4,}[a-z]\b")
_BLANKS = re.compile(r"[ \t]+")
HAS_ZH = re.compile(f"[{CJK}]")
HAS_EN = re.compile("[a-z]{2}")
MAX_CHARS = 32_000
"""Longer messages are read at both ends only, so that time stays bounded."""


class Table:
    """Replacements in order. A row that cannot match is passed over; after each change it is looked again which can."""

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        self._rows = [(re.compile(pattern), new) for pattern, new in rows]
        self._scanner = Scanner({str(i): pattern for i, (pattern, _) in enumerate(rows)})

    def __call__(self, text: str) -> str:
        row = 0
        while True:
            for row_id in sorted(r for r in map(int, self._scanner.scan(text)) if r >= row):
                pattern, new = self._rows[row_id]
                changed, row = pattern.sub(new, text), row_id + 1
                if changed != text:
                    text = changed
                    break
            else:
                return text


@dataclass(frozen=True)
class Normaliser:
    """The compiled table."""

    characters: dict[int, str]
    zh: Table
    en: Table

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Normaliser:
        """Compile `normal.yaml`; raises KeyError, TypeError, ValueError or re.error on a damaged table."""
        pairs = re.sub(r"\s", "", tree["pairs"])
        if len(pairs) % 2:
            raise ValueError("`pairs` must hold an even number of characters")
        characters = {ord(a): b for a, b in zip(pairs[::2], pairs[1::2], strict=True)}
        return cls(characters, Table(tree["zh"]), Table(tree["en"]))

    def __call__(self, text: str) -> str:
        """The text as the rules read it."""
        if len(text) > MAX_CHARS:
            text = text[: MAX_CHARS // 2] + "\n" + text[-MAX_CHARS // 2 :]
        text = _HIDDEN.sub("", unicodedata.normalize("NFKC", text)).lower().translate(self.characters)
        text = _GAP.sub("", text)
        text = _STOP.sub(lambda m: _WIDE[m[0]], text)
        if HAS_ZH.search(text) or not text.isascii() or "x" in text or "z" in text or "g" in text or "h" in text:
            text = self.zh(text)
        if HAS_EN.search(text):
            text = _SPELLED.sub(lambda m: re.sub(r"[ .\-_*]", "", m[0]), text)
            text = self.en(text)
        return _BLANKS.sub(" ", text).strip()
