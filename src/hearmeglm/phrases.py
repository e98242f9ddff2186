"""What the package says in English (errors, reasons in the ledger, notes of the plan) in another language: `phrases_zh.yaml`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import yaml


def said(text: str, lang: str) -> str:
    """`text` in `lang` (`zh` or `en`), as far as the phrase book knows it."""
    book = _book(lang)
    for pattern, translation in book:
        if found := pattern.fullmatch(text):
            return translation.format(*(said(group, lang) for group in found.groups()))
    where, colon, rest = text.partition(": ")
    if book and colon and (told := said(rest, lang)) != rest:
        return f"{where}：{told}"
    return text


@cache
def _book(lang: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    path = Path(__file__).with_name(f"phrases_{lang}.yaml")
    book: dict[str, str] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return tuple((_pattern(k), v) for k, v in book.items())


def _pattern(phrase: str) -> re.Pattern[str]:
    """A phrase in which each `{}` stands for anything, as little of it as will do."""
    return re.compile("(.+?)".join(map(re.escape, phrase.split("{}"))), re.DOTALL)
