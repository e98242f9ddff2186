"""Letters: a labelled line inside a longer message, or talk, that is otherwise calm, as people write who tell their story first.

    calm = calm_talks(Guard.load(layers="rules"), starter.client_talks())
    longer = letters(lines, calm, wanted=500, longest=190)

A guard that has only ever read danger in short lines takes the calm words around it for safety; trained and measured on letters it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from .guard import Guard
from .measure import Example


def calm_talks(rules: Guard, talks: Iterable[tuple[str, Sequence[str]]]) -> dict[str, list[list[str]]]:
    """Of talks, (language, the client's messages), the messages in which the rules find nothing, talk by talk, by language."""
    out: dict[str, list[list[str]]] = {"zh": [], "en": []}
    for lang, said in talks:
        if calm := [text for text in said if not rules.assess([text]).risk]:
            out[lang].append(calm)
    return out


def letters(
    lines: Sequence[Example],
    calm: Mapping[str, Sequence[Sequence[str]]],
    *,
    wanted: int,
    longest: int,
    seed: int = 0,
    apart: bool = False,
) -> list[Example]:
    """Lines drawn anew, each at a random place among one to six calm messages; label, kind and level stay the line's.

    The messages follow one another in a talk, as a story does; where the talk is too short, another goes on.

    Args:
        lines: examples of one turn. calm: language -> talks, each of messages without risk.
        longest: characters of a letter in Chinese; in English, whose words are longer, two and a half times as many.
        apart: the messages stay a talk's, the line one among them.

    Returns:
        `wanted` examples with the line's id and "-letter" (apart: "-thread") and a number after it.
    """
    rng = np.random.default_rng(seed)
    out = []
    for n in range(wanted):
        line = lines[int(rng.integers(len(lines)))]
        room = longest * (1.0 if line.lang == "zh" else 2.5) - len(line.turns[0])
        around: list[str] = []
        count = int(rng.integers(1, 7))
        while len(around) < count:
            talk = calm[line.lang][int(rng.integers(len(calm[line.lang])))]
            start = int(rng.integers(max(1, len(talk) - count + 1)))
            around += talk[start : start + count - len(around)]
        while len(around) > 1 and sum(map(len, around)) > room:
            around.pop()
        around.insert(int(rng.integers(len(around) + 1)), line.turns[0])
        joined = ("\n" if rng.random() < 0.2 else "" if line.lang == "zh" else " ").join(map(_ended, around))
        name, turns = ("thread", tuple(around)) if apart else ("letter", (joined,))
        out.append(replace(line, id=f"{line.id}-{name}{n}", turns=turns))
    return out


def _ended(text: str) -> str:
    """With a full stop where no mark ends it."""
    return text if not text[-1].isalnum() else text + ("。" if "\u4e00" <= text[-1] <= "\u9fff" else ".")
