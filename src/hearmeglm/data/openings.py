"""How replies begin: the sign of a data set (or a model) that says the same thing to everybody."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from ..types import Dialogue

SENTENCE = re.compile(r"[^。！？!?.\n，,；;：:~～]{1,40}")


def opening(dialogue: Dialogue) -> str:
    """The first clause of the first counsellor reply, lower case, without marks and emoji."""
    reply = next((m.content for m in dialogue.messages if m.role == "assistant"), "")
    return clause(reply)


def clause(reply: str) -> str:
    """The first clause of a reply, normalised so that equal openings compare equal."""
    match = SENTENCE.search(reply)
    return re.sub(r"[^\w]+", " ", match[0]).strip().lower() if match else ""


def head(reply: str) -> str:
    """The first 6 characters (Chinese) or 4 words (English) of a reply: the corpus' measure of a repeated opening."""
    if re.search("[\u4e00-\u9fff]", reply[:12]):
        return reply.strip()[:6]
    return " ".join(re.findall(r"[\w']+", reply.lower())[:4])


def count(dialogues: Iterable[Dialogue]) -> Counter[str]:
    """How many dialogues begin with each opening."""
    return Counter(opening(d) for d in dialogues)
