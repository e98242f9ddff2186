"""The studio's own words in Chinese and English: `words_zh.yaml` and `words_en.yaml`, same keys, every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .. import phrases
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
    """

    lang: str
    ui: dict[str, str]
    settings: dict[str, list[str]]

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
        return phrases.said(text, self.lang)


@cache
def load(lang: str) -> Words:
    """The table of `zh` or `en`."""
    tree = _read(f"words_{lang}.yaml")
    return Words(lang, tree["ui"], tree.get("settings") or {})


def _read(name: str) -> dict[str, Any]:
    path = Path(__file__).with_name(name)
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
