"""The check on what a model answers: before it is shown, not after.

    problems = check_reply(text, region="CN", crisis=True)      # () means it may be shown

Reasons: method, validation, number (a telephone number that is not in the hotline table), diagnosis, prescription, human, licence,
companion (a lover, a relative, the only one who understands), and, in a crisis, abandon. A damaged rules file gives the reason `closed`, so nothing unchecked is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import hotlines
from .guard import RULES, _tree, guard

REASONS = ("method", "validation", "diagnosis", "prescription", "human", "licence", "companion", "abandon")
_NUMBER = re.compile(r"(?<![\d.])\+?(?:\(\d{1,4}\)[ \-]?)?\d(?:[\d \-–.]{0,18}\d)?(?![\d.]*\d)")
_DIAL = re.compile(
    r"电话|热线|拨打?|致电|打给|打(?=\s*\d)|联系|号码|专线|短信|call|dial|phone|text|hotline|helpline|lifeline|number|contact|reach",
    re.I,
)
AHEAD = 12
"""So many characters after a number may still say that it is one to call."""
_SPELLED = re.compile(r"[零〇一二三四五六七八九幺](?:[ \-—]?[零〇一二三四五六七八九幺]){2,}")
_FIGURES = str.maketrans("零〇幺一二三四五六七八九", "001123456789")
"""Numbers written out in Chinese characters."""
_NOT_A_NUMBER = re.compile(r"^(?:19|20)\d\d$")
_UNIT = re.compile(
    r"\s*(?:小时|分钟?|秒|天|周(?![一二三四五六日天末内])|个?月|年|岁|次|遍|步|点|%|％|号(?!码)|元|块|米|公里|种|条|个|hours?|minutes?|seconds?|days?|weeks?|months?|years?|times|steps?|percent|people|breaths?|things?|am|pm|:\d|/7)",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a reply from being shown."""

    reason: str
    text: str


@cache
def _rules(path: Path = RULES / "output.yaml") -> Mapping[str, re.Pattern[str]] | str:
    """Compiled rules, or why there are none."""
    try:
        tree = _tree(path)
        rules = {reason: re.compile("|".join(tree[reason])) for reason in REASONS}
        hotlines.load()
    except Exception as err:
        return f"{path.name}: {' '.join(str(err).split())[:120]}"
    return rules


def check_reply(
    text: str,
    *,
    region: str | None = None,
    crisis: bool = False,
    roleplay: bool = False,
    rules: Path = RULES / "output.yaml",
) -> tuple[Problem, ...]:
    """What is wrong with a reply; empty if it may be shown.

    Args:
        region: only this region's numbers pass; None lets every number of the table pass.
        crisis: also refuse replies that turn the person away.
        roleplay: a companion may be played (the policy's `companion_roleplay`).
    """
    compiled = _rules(rules)
    normalise = guard().normalise
    if isinstance(compiled, str) or normalise is None:
        return (Problem("closed", compiled if isinstance(compiled, str) else guard().broken),)
    plain = normalise(text)
    found = []
    for reason, pattern in compiled.items():
        if (reason == "abandon" and not crisis) or (reason == "companion" and roleplay):
            continue
        if match := pattern.search(plain):
            found.append(Problem(reason, match[0][:60]))
    return (*found, *(Problem("number", n) for n in unknown_numbers(text, region)))


def undecided(text: str) -> bool:
    """Whether a number of three digits or more stands so near the end that the next words may make it one to call."""
    tail = _SPELLED.sub(lambda m: m[0].translate(_FIGURES), text[-4 * AHEAD :])
    return any(
        m.end() > len(tail) - AHEAD and len(re.sub(r"\D", "", m[0])) > 2 for m in _NUMBER.finditer(tail)
    )


def unknown_numbers(text: str, region: str | None = None) -> list[str]:
    """Telephone numbers of a text that are not in the table.

    Seven digits and more always count as a telephone number; three to six digits only near words like "call" or 热线.
    """
    known = hotlines.numbers(region)
    out = []
    text = _SPELLED.sub(lambda m: m[0].translate(_FIGURES), text)
    for match in _NUMBER.finditer(text):
        number = match[0]
        if _UNIT.match(text, match.end()):  # "1-800-273-8255 24 hours": the unit is that of the last group
            before, _, last = number.rpartition(" ")
            number = before if len(re.sub(r"\D", "", last)) < 7 else number
        for piece in [number] if re.sub(r"\D", "", number) in known else re.split(r"[ ,]{2,}", number):
            digits = re.sub(r"\D", "", piece)
            near = _DIAL.search(text[max(0, match.start() - 16) : match.end() + AHEAD])
            if digits in known or len(digits) < 3 or (_NOT_A_NUMBER.match(digits) and not near):
                continue
            if len(digits) >= 7 or near:
                out.append(piece.strip())
    return out
