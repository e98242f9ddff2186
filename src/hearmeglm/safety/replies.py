"""Written, warm replies for a crisis, by kind and language, with a region's numbers filled in (`replies.yaml`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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


_SYLLABLE = re.compile(
    r"(?:[zcs]h|[bpmfdtnlgkhjqxzcsryw])?(?:iong|[iu]?ang|[iu]a[io]|ia[on]|uan|eng|ing|ong|[iuv]?an|[aeiuv]n|er|ai|[aeu]i|[ai]o|ou|iu|[iuv]e|[iu]a|uo|[aeiouv])"
)
_PINYIN_ONLY = frozenset(
    [
        "wo",
        "ni",
        "bu",
        "xiang",
        "zhe",
        "zhen",
        "jiu",
        "huo",
        "meiyou",
        "buxiang",
        "xiangsi",
        "zhende",
        "henlei",
        "nanshou",
    ]
)
"""Syllables that hardly occur in English; one of them must be there, for "he can die" is spelled like pinyin too."""
OTHERS = (
    *("other", "unknown", "imminent", "again", "reminder", "later", "safer", "ai", "doctor", "numbers"),
    *("imminent_violence", "again_violence", "reminder_violence"),
)
"""Texts beside those by kind of danger; what each is for stands at the head of the file."""
INSTEAD: Mapping[str, str] = {
    "human": "ai",
    "licence": "ai",
    "companion": "ai",
    "diagnosis": "doctor",
    "prescription": "doctor",
    "number": "numbers",
}
"""Reason of `output.check_reply` -> the text in place of what the model said; `safer` for the other reasons."""


@cache
def _texts() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    tree = _tree(FILE)
    for lang in ("zh", "en"):
        if missing := {*KINDS, *OTHERS} - tree[lang].keys():
            raise ValueError(f"{FILE.name}: {lang} lacks {sorted(missing)}")
    return {lang: {k: (v,) if isinstance(v, str) else tuple(v) for k, v in tree[lang].items()} for lang in tree}


def reply(kind: str, region: str, lang: Lang, turn: int = 0, *, young: bool = False, danger: str = "") -> str:
    """A written reply.

    Args:
        kind: one of `lexicon.KINDS` or `OTHERS`. turn: chooses the variant, where there are several.
        young: the youth line is named first. danger: the talk's kind of danger; the text KIND_DANGER comes before KIND, if there is one.

    Never raises: if the files are damaged it answers with a text that names no number.
    """
    try:
        texts = _texts()[lang]
        variants = texts.get(f"{kind}_{danger}") or texts.get(kind) or texts["unknown"]
        return fill(variants[turn % len(variants)], region, lang, young=young)
    except Exception:
        return LAST_RESORT[lang]


def was_shown(kind: str, lang: Lang, said: Iterable[str]) -> bool:
    """Whether a text of this kind, for any region, is among what the client has read."""
    try:
        heads = [text.partition("{")[0] for text in _texts()[lang].get(kind, ())]
    except Exception:
        return False
    return any(head in text for text in said for head in heads)


def language_of(text: str, default: Lang = "zh") -> Lang:
    """The language to answer in: Chinese if the text has Chinese characters or is pinyin, English if it has other Latin letters."""
    if HAS_ZH.search(text):
        return "zh"
    words = re.findall(r"[a-z]+", text.lower())
    if not words:
        return default
    return "zh" if _PINYIN_ONLY & set(words) and all(map(_is_pinyin, words)) else "en"


def _is_pinyin(word: str) -> bool:
    """Whether a word is a row of whole syllables; in linear time, which one pattern for all of them would not be."""
    ends = {0}
    for start in range(len(word)):
        if start in ends:
            stops = range(start + 1, min(start + 6, len(word)) + 1)
            ends |= {stop for stop in stops if _SYLLABLE.fullmatch(word, start, stop)}
    return len(word) in ends
