"""Which language a text is in, as far as scoring must know: Chinese or English."""

from __future__ import annotations

import re

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LATIN = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")


def han_share(text: str) -> float:
    """Chinese characters / (Chinese characters + 2 × Latin words), 0 if there is neither: a Chinese word is about two characters."""
    han, latin = len(_HAN.findall(text)), len(_LATIN.findall(text))
    return han / (han + 2 * latin) if han + latin else 0.0


def language(text: str) -> str:
    """`zh` if at least half of the units are Chinese characters, else `en`; a text with neither counts as `zh`."""
    if not _HAN.search(text) and not _LATIN.search(text):
        return "zh"
    return "zh" if han_share(text) >= 0.5 else "en"
