"""The check on what a model answers: before it is shown, not after.

    problems = check_reply(text, region="CN", crisis=True)      # () means it may be shown

Reasons: method, validation, number (a telephone number that is not in the hotline table), diagnosis, prescription, human, licence,
companion (a lover, a relative, the only one who understands), and, in a crisis, abandon. Patterns (`rules/output.yaml`, the hotline table) find what was thought of,
trained heads (`reply_heads`) what only sounds like it. A damaged file gives the reason `closed`, so nothing unchecked is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import hotlines
from .guard import RULES, _tree, guard
from .reply_heads import REASONS

_OF_JERRY = ("human", "licence", "companion", "abandon")
"""What Jerry would say of itself: nothing in the clause excuses it."""
_NUMBER = re.compile(r"(?<![\d.])\+?(?:\(\d{1,4}\)[ \-]?)?\d(?:[\d \-–.]{0,18}\d)?(?![\d.]*\d)")
_DIAL = re.compile(
    r"电话|热线|拨打?|致电|打给|打(?:一下|这个号)?[:：]?(?=\s*\d)|这个号|联系|号码|专线|短信|\b(?:call|dial|phone|text|hotline|helpline|lifeline|number|contact|reach)",
    re.I,
)
_DIAL_LOOSE = re.compile(
    rf"{_DIAL.pattern}|求助|援助|咨询|帮(?:到)?你|有人接|倾诉|\b(?:try|samaritans|crisis|line|support|help|available)\b",
    re.I,
)
"""Near five digits and more, which are seldom anything else."""
AHEAD = 12
"""So many characters after a number may still say that it is one to call."""
_SPELLED = re.compile(r"[零〇一二三四五六七八九幺](?:[ \-—]?[零〇一二三四五六七八九幺]){2,}")
_DIGITS = {
    w: str(n) for n, w in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
} | {"oh": "0"}
_SPELLED_EN = re.compile(rf"\b(?:{'|'.join(_DIGITS)})(?:[ ,\-]+(?:{'|'.join(_DIGITS)})){{4,}}\b", re.I)
_FIGURES = str.maketrans("零〇幺一二三四五六七八九", "001123456789")
"""Numbers written out in Chinese characters."""
_NOT_A_NUMBER = re.compile(r"^(?:19|20)\d\d$")
_DATE = re.compile(r"(?:19|20)\d\d ?[-–./] ?(?:\d\d?(?: ?[-–./] ?\d\d?)?|(?:19|20)\d\d)")
_UNIT = re.compile(
    r"\s*(?:小时|分钟?|秒|周(?![一二三四五六日天末内])|个?月|年|岁|次|遍|步|点|%|％|元|块|米|公里|(?:hours?|minutes?|seconds?|weeks?|months?|years?|times|steps?|percent|breaths?|am|pm)(?![a-z])|:\d|/7)",
    re.I,
)
_UNIT_LOOSE = re.compile(r"\s*(?:天(?!天)|号(?!码|热线)|种|条|个|人|(?:days?|people|things?|words?)(?![a-z]))", re.I)
"""Also the beginning of what may be said of a number to call ("12320 个人咨询")."""
_STOP, _PART = re.compile(r"[。！？!?；;\n]|\.(?=\s|$)"), re.compile(r"[，,：:]")
_QUOTED = re.compile(r"[“「『][^“”「」『』]{1,80}[”」』]|(?<![\w])\"[^\"\n]{1,80}\"(?!\w)")
"""Somebody's words in quotation marks are not Jerry's."""
_NEGATED = re.compile(
    r"不要|别(?![的人墅处])|不能|不可以|不应?该|不建议|不必|不用|不会|不是|不等于|并不|并非|没有?人|没说|避免|防止|以免|切勿|请勿|而不是|不需要|不意味|不同意|不觉得|从不|远离|拿开|收好|关(?:掉|上|好|闭)|拒绝"
    r"|\b(?:\w+n't|not|never|no one|nobody|avoid\w*|instead of|rather than|stop|keep (?:you )?from|against|resist\w*)\b"
)
_REPORTED = re.compile(
    r"(?:你|您|他|她|他们|别人|医生|声音|有人|大家)(?:们|会|曾|有时|总是?|常|也许|可能|好像|一直|真的|会不会|是不是|刚才|之前)*(?:觉得|认为|感到|感觉|以为|说|提到|想|害怕|担心|听到|相信|希望|告诉|恨|问|写|被)"
    r"|听起来|听上去|(?:念头|想法|冲动|声音)(?:说(?!明)|是|让)|如果|要是|万一|假如|是否|有没有|怀疑|书里|电影|歌词"
    r"|\b(?:you|he|she|they|someone|people|voices?|doctors?|mind|brain|part of you)(?:'re|'ve|'d| are| have| had| might| may| sometimes| still| also| often| just)*"
    r" (?:feel(?:ing)?|felt|think(?:ing)?|thought|believe[ds]?|said|say(?:ing|s)?|told|tell(?:s|ing)?|mention(?:ed)?|wish(?:ed)?|want(?:ed|ing)?|fear(?:ed)?|worr\w+|hear\w*|wonder\w*|wrote|asked?)\b"
    r"|\b(?:thoughts?|ideas?|urges?|feeling|whether|in case|the film|the song|the book)\b|sounds? like you|\bif (?:you(?:'re| are) (?:worried|wondering)|you think|a doctor)"
)
_URGED = re.compile(
    r"(?:别|不要|不用)(?:再)?(?:怕|犹豫|想太多|担心|等|拖)|为什么不|为何不|何不|不如|要不要?|干嘛不|不妨|试试|(?:好|行|可以)(?:吗|不好|么)[?？]?$"
    r"|(?:don't|do not|never|no need to) (?:be afraid|hesitate|worry|wait|be scared|overthink)|why (?:don't|not|wait)|how about|what about|have you (?:tried|considered)|what if you"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a reply from being shown."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """What one reason refuses: `firm` always, `plain` unless the clause forbids, reports or asks about it."""

    firm: re.Pattern[str]
    plain: re.Pattern[str]

    def search(self, text: str) -> re.Match[str] | None:
        return self.firm.search(text) or next((m for m in self.plain.finditer(text) if not _excused(text, m)), None)


@cache
def _rules(path: Path = RULES / "output.yaml") -> Mapping[str, _Rule] | str:
    """Compiled rules, or why there are none."""
    try:
        tree, rules = _tree(path), {}
        for reason in REASONS:
            firm = [p.removeprefix("! ") for p in tree[reason] if p.startswith("! ") or reason in _OF_JERRY]
            plain = [p for p in tree[reason] if not p.startswith("! ") and reason not in _OF_JERRY]
            rules[reason] = _Rule(*(re.compile("|".join(patterns) or r"(?!)") for patterns in (firm, plain)))
        hotlines.load()
    except Exception as err:
        return f"{path.name}: {' '.join(str(err).split())[:120]}"
    return rules


def _excused(text: str, match: re.Match[str]) -> bool:
    """Whether the words are warned of ("请不要自行停药"), somebody's own ("you feel you're a burden"), or asked about; not if they are urged."""
    start = max((m.end() for m in _STOP.finditer(text, max(0, match.start() - 160), match.start())), default=0)
    start = max(start, match.start() - 160)
    clause = _PART.split(text[start : match.end()])[-1]
    stop = _STOP.search(text, match.end())
    end = stop.end() if stop else len(text)
    if _URGED.search(text, start, end):
        return False
    asked = text[start:end].rstrip("。. ").endswith(("?", "？", "吗", "么", "呢"))
    return asked or bool(_NEGATED.search(clause) or _REPORTED.search(clause))


def check_reply(
    text: str,
    *,
    region: str | None = None,
    crisis: bool = False,
    roleplay: bool = False,
    trained: bool = True,
    rules: Path = RULES / "output.yaml",
) -> tuple[Problem, ...]:
    """What is wrong with a reply; empty if it may be shown.

    Args:
        region: only this region's numbers pass; None lets every number of the table pass.
        crisis: also refuse replies that turn the person away.
        roleplay: a companion may be played (the policy's `companion_roleplay`).
        trained: ask the trained heads too, if the shipped guard has its model-based layer.
    """
    compiled = _rules(rules)
    normalise = guard().normalise
    if isinstance(compiled, str) or normalise is None:
        return (Problem("closed", compiled if isinstance(compiled, str) else guard().broken),)
    allowed = {reason for reason, so in (("abandon", not crisis), ("companion", roleplay)) if so}
    plain = _QUOTED.sub("“”", normalise(text))
    found = {}
    for reason, pattern in compiled.items():
        if reason not in allowed and (match := pattern.search(plain)):
            found[reason] = match[0][:60]
    heads, listener = guard().replies, guard().listener
    if trained and heads is not None and listener is not None:
        for reason, part in heads.find(text, listener, allowed):
            found.setdefault(reason, part[:60])
    return (*(Problem(*of) for of in found.items()), *(Problem("number", n) for n in unknown_numbers(text, region)))


def _in_figures(text: str) -> str:
    """With numbers that are spelled out, digit by digit, in figures."""
    text = _SPELLED.sub(lambda m: m[0].translate(_FIGURES), text)
    return _SPELLED_EN.sub(lambda m: " ".join(_DIGITS[w] for w in re.findall(r"[a-z]+", m[0].lower())), text)


def undecided(text: str) -> bool:
    """Whether a number of three digits or more stands so near the end that the next words may make it one to call."""
    tail = _in_figures(text[-4 * AHEAD :])
    return any(m.end() > len(tail) - AHEAD and len(re.sub(r"\D", "", m[0])) > 2 for m in _NUMBER.finditer(tail))


def unknown_numbers(text: str, region: str | None = None) -> list[str]:
    """Telephone numbers of a text that are not in the table.

    Seven digits and more always count as a telephone number; three to six digits only near words like "call" or 热线. Dates do not.
    """
    known = hotlines.numbers(region)
    out = []
    text = _in_figures(text)
    for match in _NUMBER.finditer(text):
        number = match[0]
        if _DATE.fullmatch(number.strip()):
            continue
        loose = _UNIT_LOOSE.match(text, match.end())
        if loose or _UNIT.match(text, match.end()):  # "1-800-273-8255 24 hours": the unit is that of the last group
            before, _, last = number.rpartition(" ")
            number = before if (before or not loose) and len(re.sub(r"\D", "", last)) < 7 else number
        for piece in [number] if re.sub(r"\D", "", number) in known else re.split(r"[ ,]{2,}", number):
            digits = re.sub(r"\D", "", piece)
            near = (_DIAL_LOOSE if len(digits) > 4 else _DIAL).search(
                text[max(0, match.start() - 16) : match.end() + AHEAD]
            )
            if digits in known or len(digits) < 3 or (_NOT_A_NUMBER.match(digits) and not near):
                continue
            if len(digits) >= 7 or near:
                out.append(piece.strip())
    return out
