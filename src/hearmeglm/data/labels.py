"""Role labels as they are written in transcripts (`来访者：`, `心理咨询师（扮演妈妈）：`, `Counselor:` …)."""

from __future__ import annotations

import re

from ..types import Role

CLIENT = ("来访者", "求助者", "求询者", "咨询者", "患者", "病人", "Client", "Seeker", "Patient", "Help-seeker")
COUNSELLOR = (
    "心理咨询师",
    "心理治疗师",
    "心理医生",
    "咨询师",
    "治疗师",
    "支持者",
    "倾听者",
    "医生",
    "Counselor",
    "Counsellor",
    "Supporter",
    "Therapist",
)


def _label(words: tuple[str, ...]) -> str:
    alternatives = "|".join(sorted(words, key=len, reverse=True))
    return rf"(?P<word>{alternatives})(?P<extra>\s*\d{{0,2}}\s*(?:[（(][^）)\n]{{1,20}}[）)])?)\s*[：:]"


AT_START = re.compile(rf"\s*{_label(CLIENT + COUNSELLOR)}\s*", re.IGNORECASE)
"""A role label at the start of an utterance."""
ANYWHERE = re.compile(rf"(?<![A-Za-z-]){_label(CLIENT + COUNSELLOR)}", re.IGNORECASE)
"""A role label anywhere: none may be left in what a model learns to say."""
_CLIENT_LOWER = {w.lower() for w in CLIENT}


def role_of(word: str) -> Role:
    """The role that a label's word stands for."""
    return "user" if word.lower() in _CLIENT_LOWER else "assistant"


def at_boundary(text: str, start: int) -> bool:
    """Whether a label at `start` opens a sentence, so that somebody speaks from there; otherwise it is part of a sentence."""
    before = text[:start].rstrip(" \t")
    return not before or not (before[-1].isalnum() or before[-1] in "，,、“\"‘'：:（(《")
