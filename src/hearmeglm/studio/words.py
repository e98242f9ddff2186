"""The studio's own words in Chinese and English: `words_zh.yaml` and `words_en.yaml`, same keys, every one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import HearmeError, UserError

if TYPE_CHECKING:
    from .form import Field

LANGS = ("zh", "en")


@dataclass(frozen=True)
class Words:
    """One language's table.

    Attributes:
        lang: `zh` or `en`.
        ui: key -> text, with `{placeholders}`.
        settings: path of a recipe's field -> [label, explanation]; English explanations are the schema's own.
        phrases: what the package says in English (errors, ledger, notes of the plan) -> this language; none in English.
    """

    lang: str
    ui: dict[str, str]
    settings: dict[str, list[str]]
    phrases: tuple[tuple[re.Pattern[str], str], ...] = ()

    def __call__(self, key: str, **values: Any) -> str:
        return self.ui[key].format(**values) if values else self.ui[key]

    def field(self, field: Field) -> tuple[str, str]:
        """Label and explanation of a setting."""
        if self.lang == "zh":
            label, info = self.settings.get(field.path, [field.path.rsplit(".", 1)[-1], field.description])
            return label, info
        name = field.path.rsplit(".", 1)[-1].replace("_", " ")
        return name[:1].upper() + name[1:], field.description

    def error(self, err: HearmeError | str) -> tuple[str, str, str, str]:
        """(title, problem, where, hint) of an error; the title says in this language what kind it is."""
        name = type(err).__name__ if isinstance(err, HearmeError) else "HearmeError"
        title = self.ui.get(f"error.{name}", self.ui["error.HearmeError"])
        if isinstance(err, UserError):
            faults = "; ".join(self.said(f) for f in err.problem.split("; "))
            return title, faults, err.where, self.said(err.hint)
        return title, self.said(str(err)), "", ""

    def said(self, text: str) -> str:
        """What the package said in English, in this language as far as the phrase book knows it."""
        for pattern, translation in self.phrases:
            if found := pattern.fullmatch(text):
                return translation.format(*map(self.said, found.groups()))
        where, colon, rest = text.partition(": ")
        if self.phrases and colon and (told := self.said(rest)) != rest:
            return f"{where}：{told}"
        return text


@cache
def load(lang: str) -> Words:
    """The table of `zh` or `en`."""
    tree = _read(f"words_{lang}.yaml")
    book = _read(f"phrases_{lang}.yaml")
    return Words(lang, tree["ui"], tree.get("settings") or {}, tuple((_pattern(k), v) for k, v in book.items()))


def _read(name: str) -> dict[str, Any]:
    path = Path(__file__).with_name(name)
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _pattern(phrase: str) -> re.Pattern[str]:
    """A phrase in which each `{}` stands for anything, as little of it as will do."""
    return re.compile("(.+?)".join(map(re.escape, phrase.split("{}"))), re.DOTALL)
