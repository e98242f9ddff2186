"""Telephone numbers of the mainland, Hong Kong, Taiwan, the US and abroad; service numbers and hotlines stay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

from ...safety import hotlines
from .span import Span

Make = Callable[[str, int, int], Span]
"""(type, start, end) -> span of the original text."""

PUBLIC_NUMBERS = frozenset(
    [
        "4001619995",
        "01082951332",
        "8008101117",
        "4006525580",
        "95588",
        "95555",
        "95533",
        "95599",
        "10086",
        "10010",
        "10000",
        "12345",
        "12315",
        "12355",
        "12338",
        "12320",
        "12333",
        "12328",
        "12306",
        "12388",
        "12309",
        "12348",
        "12356",
        "110",
        "119",
        "120",
        "122",
        "18002738255",
        "18004866789",
        "741741",
        "988",
        "911",
        "116123",
        "999",
        "112",
        "111",
        "000",
        "131114",
        "1300224636",
        "18111",
        "23892222",
        "28960000",
        "1925",
        "1995",
        "1980",
        "113",
        "18006624357",
        "18007997233",
        "8556282",
        "2382",
        "28818",
    ]
)
"""Service and crisis numbers, digits only, beside those of the hotline table."""
SERVICE_WORDS = re.compile(
    r"热线|客服|报警|急救|咨询电话|总机|举报|官方电话|hot\s?-?line|help\s?-?line|life\s?-?line|crisis|emergency|suicide|customer service|samaritans",
    re.IGNORECASE,
)
PHONE_WORDS = re.compile(
    r"电话|電話|手机|手機|号码|號碼|座机|联系方式|联系我|打给|打給|打我|致电|拨打|拨|短信|传真|whats\s?app|phone|mobile|cell|\btel\b|call|text|reach|number|\bring\b|香港|台湾|台北|\bHK\b|contact",
    re.IGNORECASE,
)
NOT_PHONE = re.compile(
    r"订单|单号|运单|快递|编号|流水|发票|合同|型号|序列|条码|货号|金额|价|编码|案号|order|tracking|invoice|serial|isbn|model|￥|¥|\$|项目|版本",
    re.IGNORECASE,
)

MOBILE_CN = re.compile(r"(?<![\d.])(?:(?:\+|00)?86[\s-]{0,2})?1[\s.-]?[3-9](?:[\s.·-]?\d){9}(?![\d])", re.ASCII)
LANDLINE_CN = re.compile(
    r"(?<![\d.-])(?:(?:\+|00)?86[\s-]?)?(?:\(0\d{2,3}\)[\s-]?|0(?:10|2\d|[3-9]\d{2})[\s-]?)[2-9]\d{2,3}[\s-]?\d{4}(?:\s?(?:转|ext\.?|x|-)\s?\d{1,5})?(?![\d])",
    re.ASCII,
)
TAIWAN = re.compile(
    r"(?<![\d.-])(?:(?:(?:\+|00)886[\s-]?(?:\(0\))?|0)9\d{2}[\s-]?\d{3}[\s-]?\d{3}|(?:\+|00)886[\s-]?\d{1,2}[\s-]?\d{3,4}[\s-]?\d{4}|\(?0[2-8]\)?[\s-]\d{3,4}[\s-]\d{4})(?![\d])",
    re.ASCII,
)
HONG_KONG = re.compile(r"(?<![\d.-])(?:(?P<prefix>(?:\+|00)?85[23][\s-]?)|)[235689]\d{3}[\s-]?\d{4}(?![\d-])", re.ASCII)
US = re.compile(
    r"(?<![\d.-])(?:\+?1[\s.-]?)?(?:\([2-9]\d{2}\)\s?|[2-9]\d{2}[\s.-])[2-9]\d{2}[\s.-]\d{4}(?:\s?(?:x|ext\.?)\s?\d{1,5})?(?![\d])",
    re.ASCII,
)
US_PLAIN = re.compile(r"(?<![\d.-])(?:\+?1)?[2-9]\d{2}[2-9]\d{6}(?![\d])", re.ASCII)
UK_MOBILE = re.compile(r"(?<![\d.-])07\d{3}[\s-]?\d{3}[\s-]?\d{3}(?!\d)", re.ASCII)
INTERNATIONAL = re.compile(r"(?<![\d.])(?:\+|00)\s?[1-9]\d{0,2}(?:[\s.()-]{0,2}\d){6,13}(?![\d])", re.ASCII)
LOCAL = re.compile(r"(?<![\d.-])[2-9]\d{2,3}[\s-]?\d{4}(?![\d年月日元块岁%-])", re.ASCII)


@cache
def _public() -> frozenset[str]:
    return PUBLIC_NUMBERS | hotlines.numbers()


def find(text: str, make: Make) -> Iterator[Span]:
    """PHONE spans of a folded text."""

    def context(start: int, words: re.Pattern[str], reach: int = 16) -> bool:
        return bool(words.search(text[max(0, start - reach) : start]))

    def kept(start: int, end: int) -> bool:
        """Service numbers and numbers of things, which stay."""
        digits = re.sub(r"\D", "", re.sub(r"转.*|ext.*|x\d+$", "", text[start:end]))
        bare = digits.removeprefix("0086").removeprefix("86") if len(digits) > 11 else digits
        if (
            digits in _public()
            or bare in _public()
            or re.match(r"(?:1)?(?:800|888|877|866|855|844|833)\d{7}$|(?:400|800)\d{7}$", digits)
        ):
            return True
        return context(start, NOT_PHONE, 14)

    for m in MOBILE_CN.finditer(text):
        if _grouped(m[0]) and not kept(m.start(), m.end()):
            yield make("PHONE", m.start(), m.end())
    for m in re.finditer(
        r"(?<![零〇一二三四五六七八九幺])[一幺][三四五六七八九][零〇一二三四五六七八九幺]{9}(?![零〇一二三四五六七八九幺])",
        text,
    ):
        yield make("PHONE", m.start(), m.end())
    for pattern in (LANDLINE_CN, TAIWAN, US, UK_MOBILE, INTERNATIONAL):
        for m in pattern.finditer(text):
            digits = len(re.sub(r"\D", "", m[0]))
            service = context(m.start(), SERVICE_WORDS) and not context(m.start(), re.compile("我的|家里|私人|my "), 16)
            if digits >= 8 and not service and not kept(m.start(), m.end()):
                yield make("PHONE", m.start(), m.end())
    for m in US_PLAIN.finditer(text):
        if (
            context(m.start(), PHONE_WORDS, 24)
            and not context(m.start(), SERVICE_WORDS)
            and not kept(m.start(), m.end())
        ):
            yield make("PHONE", m.start(), m.end())
    for pattern in (HONG_KONG, LOCAL):
        for m in pattern.finditer(text):
            near = context(m.start(), PHONE_WORDS, 18) or PHONE_WORDS.search(text[m.end() : m.end() + 8])
            wanted = bool(pattern is HONG_KONG and m["prefix"] and m["prefix"].strip("+0 -") in ("852", "853")) or near
            date = re.fullmatch(r"(?:19|20)\d{2}[\s-]?(?:0\d|1[0-2])[0-3]\d", m[0])
            qq = context(m.start(), re.compile("QQ|扣扣|微信|wechat", re.IGNORECASE), 8)
            if (
                wanted
                and not date
                and not qq
                and not context(m.start(), SERVICE_WORDS)
                and not kept(m.start(), m.end())
            ):
                yield make("PHONE", m.start(), m.end())


def _grouped(text: str) -> bool:
    """Whether the blanks of a mobile number fall as people write them: few groups, or one blank after every digit."""
    core = re.sub(r"^(?:\+|00)?86[\s-]{0,2}(?=1)", "", text)
    parts = re.split(r"[\s.·-]", core)
    return len(parts) == 1 or (len(parts) <= 4 and min(map(len, parts)) >= 2) or all(len(p) == 1 for p in parts)
