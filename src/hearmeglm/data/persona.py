"""Self-cognition pairs: the persona's name, developer and role put into pairs of our own writing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import DataError
from ..files import read_jsonl
from ..recipe import PERSONA_SOURCE, Persona, Split
from ..types import Dialogue, Message
from .split import draw
from .stats import language

PAIRS = Path(__file__).with_name("persona_pairs.jsonl")
SPLIT = Split(
    train=0.9, valid=0.1, test=0.0, reason="pairs are to be learnt by heart; the persona test asks questions of its own"
)
"""How the pairs are divided, whatever the recipe says about dialogues."""
ABOUT_ITSELF = frozenset({"identity", "developer", "premise", "denial", "role_break", "human", "limits", "language"})
"""Kinds of pairs that may be asked at any time; greetings open a talk, and clients' own words have their answers already."""
LATE = 10
"""One in so many of these is also asked in the middle of a talk, where a tuned model forgets who it is."""
PLACEHOLDER = re.compile(r"\{(\w+)\}")
ARTICLE = re.compile(r"\b(an?)(?=\s+\{role\})", re.IGNORECASE)


def pairs_file(persona: Persona) -> Path:
    """The persona's own pairs file, or the packaged one."""
    return Path(persona.file) if persona.file else PAIRS


def fill(text: str, persona: Persona, lang: str) -> str:
    """Put the persona into `{name}`, `{developer}` and `{role}`; `a {role}` becomes `an …` before a vowel and the reverse.

    Raises:
        KeyError: another placeholder.
    """
    role = persona.role_zh if lang == "zh" else persona.role_en
    values = {"name": persona.name, "developer": persona.developer, "role": role}
    article = "an" if role[:1].lower() in "aeiou" else "a"
    text = ARTICLE.sub(lambda m: article.capitalize() if m[1][0] == "A" else article, text)
    return PLACEHOLDER.sub(lambda m: values[m[1]], text)


def pairs(persona: Persona, source: str = PERSONA_SOURCE) -> Iterator[Dialogue]:
    """The self-cognition dialogues of a persona, one question and one answer each.

    A line of the file is `{"lang": "zh"|"en", "kind": …, "user": …, "assistant": …}`.

    Raises:
        DataError: no such file, a missing field or an unknown placeholder (the line is named).
    """
    file = pairs_file(persona)
    for number, row in read_jsonl(file):
        where = f"{file.name}:{number}"
        try:
            lang, kind = str(row["lang"]), str(row.get("kind", ""))
            turns = [fill(str(row[role]), persona, lang).strip() for role in ("user", "assistant")]
        except KeyError as err:
            raise DataError(
                f"expected the fields lang, user, assistant and the placeholders name, developer, role, found {err.args[0]!r}",
                where=where,
            ) from None
        if lang not in ("zh", "en") or not all(turns):
            raise DataError(f"expected lang zh or en and two texts, found lang {lang!r}", where=where)
        yield Dialogue(
            f"{source}/{lang}-{number:03d}",
            (Message("user", turns[0]), Message("assistant", turns[1])),
            source,
            {"kind": "self-cognition", "lang": lang, "topic": kind},
        )


def late(split: Sequence[Dialogue], seed: int) -> list[Dialogue]:
    """Some of a split's pairs once more, each after the first turns of a talk of the same split and language.

    The talks are cut after 1 to 10 exchanges, have no system message and no danger in them; without talks there is nothing to add.
    """
    asked = [d for d in split if d.source == PERSONA_SOURCE and d.meta["topic"] in ABOUT_ITSELF]
    talks: dict[str, list[Dialogue]] = {}
    for talk in sorted(split, key=lambda d: draw(seed, d.id)):
        if talk.source != PERSONA_SOURCE and talk.messages[0].role == "user" and talk.meta.get("kind") != "crisis":
            talks.setdefault(language(talk), []).append(talk)
    out = []
    for number, pair in enumerate(sorted(asked, key=lambda d: draw(seed, d.id))[::LATE]):
        if offered := talks.get(pair.meta["lang"]):
            talk = offered[number % len(offered)]
            before = talk.messages[: 2 * (1 + number % 10)]
            out.append(replace(pair, id=f"{pair.id}@{talk.id}", messages=(*before, *pair.messages)))
    return out
