"""Written, warm replies for a crisis, by kind and language, with a region's numbers filled in (`replies.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from .guard import _tree
from .hotlines import Lang, fill
from .lexicon import KINDS
from .normal import HAS_ZH

FILE = Path(__file__).with_name("replies.yaml")
LAST_RESORT: Mapping[str, str] = {
    "zh": "我想先确认你是不是安全。如果你有危险，请马上联系当地的急救或报警电话，或者找一个你信任的人来陪你。我在这里。",
    "en": "First I want to make sure you're safe. If you are in danger, please contact your local emergency services now, or ask someone you trust to be with you. I'm here.",
}
"""Shown when even the replies or the hotline table cannot be read; names no number because none is known to be right."""


@cache
def _texts() -> Mapping[str, Mapping[str, str]]:
    tree = _tree(FILE)
    for lang in ("zh", "en"):
        if missing := {*KINDS, "unknown", "again", "safer", "reminder"} - tree[lang].keys():
            raise ValueError(f"{FILE.name}: {lang} lacks {sorted(missing)}")
    return tree  # type: ignore[no-any-return]


def reply(kind: str, region: str, lang: Lang) -> str:
    """A written reply. `kind`: one of `lexicon.KINDS`, unknown, again, safer or reminder.

    Never raises: if the files are damaged it answers with a text that names no number.
    """
    try:
        texts = _texts()[lang]
        return fill(texts.get(kind, texts["unknown"]), region, lang)
    except Exception:
        return LAST_RESORT[lang]


def language_of(text: str, default: Lang = "zh") -> Lang:
    """The language to answer in: Chinese if the text has Chinese characters, English if it has Latin letters."""
    if HAS_ZH.search(text):
        return "zh"
    return "en" if any(c.isascii() and c.isalpha() for c in text) else default
