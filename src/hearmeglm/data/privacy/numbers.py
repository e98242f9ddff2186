"""Personal data with a form of its own: numbers, addresses of the net, plates. All offsets are those of the text given.

`fold` makes full-width letters and digits ASCII without moving anything, so every pattern here is written for ASCII.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import cache

from ...safety import hotlines
from .span import Span

_FULL_WIDTH = {i: i - 0xFEE0 for i in range(0xFF01, 0xFF5F)} | {
    0x3000: 0x20,
    0x2010: 0x2D,
    0x2011: 0x2D,
    0x2012: 0x2D,
    0x2013: 0x2D,
    0x2014: 0x2D,
    0x2212: 0x2D,
    0xA0: 0x20,
    0xFE0E: 0x20,
}
_HAN_DIGITS = str.maketrans("零〇一二三四五六七八九幺", "0012345678" + "91")

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

EMAIL = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._%+-]*\s?(?:@|\(at\)|\[at\]|#|艾特)\s?(?:[A-Za-z0-9-]+\s?(?:\.|\(dot\)|\[dot\]|点)\s?)+(?:com|cn|net|org|edu|gov|io|me|co|uk|hk|tw|de|jp|fr|us|ca|au|info|xyz|cc|tv)(?![A-Za-z0-9])|[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}",
    re.IGNORECASE | re.ASCII,
)
EMAIL_WORDS = re.compile(
    r"\b[A-Za-z0-9][\w.+-]* at [A-Za-z0-9-]+(?: dot [A-Za-z0-9-]+)* dot (?:com|cn|net|org|edu|io|co|uk)\b",
    re.IGNORECASE | re.ASCII,
)
_TLD = "com|cn|net|org|edu|gov|io|me|co|info|xyz|cc|tv|app|dev|link|top|site|online|club|shop|blog|hk|tw|uk|de|jp|fr|ru|us|ca|au|int|ly|gg|fm"
URL = re.compile(
    rf"(?:https?|ftp)://[^\s\u3000-\u303f\u4e00-\u9fff\uff00-\uffef<>\"'）】》]+|(?<![A-Za-z0-9@.])www\.[^\s\u3000-\u303f\u4e00-\u9fff<>\"'）】》]+|(?<![A-Za-z0-9@.\-_/])(?:[A-Za-z0-9][A-Za-z0-9-]*\.)+(?:{_TLD})(?:/[^\s\u3000-\u303f\u4e00-\u9fff<>\"'）】》]*)?(?![A-Za-z0-9.-]*[A-Za-z0-9])",
    re.IGNORECASE | re.ASCII,
)
HANDLE = re.compile(
    r"(?<![A-Za-z0-9_@.])@(?!所有人|全体|[了我他她你着过大]|everyone|here|all\b)[A-Za-z0-9_\u4e00-\u9fff][\w.\-\u4e00-\u9fff]{1,29}|(?<![\w/])(?:/?u/)[A-Za-z0-9_-]{3,20}",
    re.ASCII,
)
PLATFORM = re.compile(
    r"(?:抖音|小红书|微博|快手|[Bb]站|哔哩哔哩|知乎|豆瓣|贴吧|推特|电报|陌陌|\binsta(?:gram)?|\bins\b|\big\b|twitter|telegram|discord|snap(?:chat)?|tik\s?tok|facebook|\bline\s?id|steam|reddit|skype|github)"
    r"\s*(?:id|ID|账号|帐号|号码|号|用户名|昵称|名字|username|handle|account|user)?\s*(?:是|叫|为|:|就是|is|搜|@|=)?\s*[:：@]?\s*(?P<v>[A-Za-z0-9_][A-Za-z0-9_.\-#]{2,29})",
    re.IGNORECASE | re.ASCII,
)
PLATFORM_HAN = re.compile(
    r"(?:抖音|小红书|微博|快手|[Bb]站|知乎|豆瓣)(?:账号|帐号|用户名|昵称|名字|名|号)?(?:是|叫|名叫)[“\"「]?(?P<v>[\w\u4e00-\u9fff]{2,12})(?=[，。！？,.!?\s”\"」]|$)"
)

_WECHAT_WORD = r"(?:微信|薇信|威信|徽信|v信|vx|wx|weixin|we\s?chat|加\s?[vV➕+]|绿泡泡)"
_WECHAT_ID = r"[A-Za-z][A-Za-z0-9_-]{4,19}"
WECHAT = re.compile(
    rf"(?<![A-Za-z]){_WECHAT_WORD}(?P<link>(?:\s|号码?|ID|id|账号|帐号|名|是|叫|为|:|=|加我|搜索?|我|的|is|me|at|to|add|on|,|-|“|\"|\(){{0,6}})(?P<v>(?<![A-Za-z0-9]){_WECHAT_ID})(?![A-Za-z0-9_-])",
    re.IGNORECASE | re.ASCII,
)
WECHAT_AFTER = re.compile(
    r"(?<![A-Za-z0-9_@.-])(?P<v>[A-Za-z](?=[A-Za-z_-]*[0-9_-])[A-Za-z0-9_-]{5,19})\s?[（(，,]?(?:这?是|就是|is)?\s?(?:我的?|my|the)?\s?(?:微信|wechat|vx)(?!群|支付|聊)",
    re.IGNORECASE | re.ASCII,
)
WECHAT_RAW = re.compile(r"(?<![A-Za-z0-9])wxid_[A-Za-z0-9]{6,30}", re.ASCII)
_QQ_WORD = r"(?:QQ|扣扣|企鹅号?|[Qq]号|(?<![A-Za-z])Q(?=\s?[:：]))"
QQ = re.compile(
    rf"{_QQ_WORD}(?:\s|号码?|群号?|账号|帐号|小号|大号|是|为|:|加我|加|我|的|联系|一下|is|number|,|就){{0,5}}(?P<v>[1-9](?:[ -]?\d){{4,10}})(?![\d])",
    re.IGNORECASE | re.ASCII,
)
QQ_AFTER = re.compile(
    r"(?<!\d)(?P<v>[1-9]\d{4,10})\s?[（(，,]?(?:这?是|就是|is)?\s?(?:我的?|my)?\s?(?:QQ|扣扣)(?!音乐|群聊)",
    re.IGNORECASE | re.ASCII,
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
INTERNATIONAL = re.compile(r"(?<![\d.])(?:\+|00)\s?[1-9]\d{0,2}(?:[\s.()-]{0,2}\d){6,13}(?![\d])", re.ASCII)
LOCAL = re.compile(r"(?<![\d.-])[2-9]\d{2,3}[\s-]?\d{4}(?![\d年月日元块岁%-])", re.ASCII)

ID_CN = re.compile(
    r"(?<![0-9A-Za-z])[1-9]\d{5}[\s-]?(?:19|20)\d{2}[\s-]?(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[\s-]?\d{3}[\dXx](?![0-9A-Za-z])",
    re.ASCII,
)
ID_CN_OLD = re.compile(r"(?<!\d)[1-9]\d{7}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}(?!\d)", re.ASCII)
ID_HK = re.compile(r"(?<![A-Za-z0-9])[A-Z]{1,2}\d{6}\s?\([0-9A]\)", re.ASCII)
ID_TW = re.compile(r"(?<![A-Za-z0-9])[A-Z][1289]\d{8}(?![A-Za-z0-9])", re.ASCII)
ID_WORDS = re.compile(
    r"(?:护照|passport|驾照|驾驶证|社保|学号|学生证|工号|student\s?(?:id|number)|driver'?s? licen[cs]e)\s*(?:号码?|卡号|number|no\.?|id|#)?\s*(?:is|是|为|:|：)?\s*(?P<v>[A-Za-z]{0,3}\d[\dA-Za-z-]{4,17})",
    re.IGNORECASE | re.ASCII,
)
SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}[- ](?!00)\d{2}[- ](?!0000)\d{4}(?![\d-])", re.ASCII)
BANK = re.compile(r"(?<![\d.])[3-6]\d{3}(?:[\s-]?\d){9,15}(?![\d])", re.ASCII)
PLATE = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][A-HJ-NP-Za-hj-np-z][\s·•.-]?(?=[A-Za-z0-9]*\d)(?:[A-HJ-NP-Za-hj-np-z0-9]{5,6}|[A-HJ-NP-Za-hj-np-z0-9]{4}[挂学警港澳])(?![A-Za-z0-9])",
    re.ASCII,
)
PLATE_WORDS = re.compile(
    r"(?:车牌号?码?|(?:licen[cs]e|number|registration)\s+plates?(?:\s+number)?)\s*(?:is|was|reads|是|为|:|,)?\s*(?P<v>[A-Z0-9]{2,4}[\s·-]?[A-Z0-9]{2,4})(?![A-Za-z0-9])",
    re.ASCII,
)
IPV4 = re.compile(r"(?<![\d.vV])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]\d|\d)")
IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", re.ASCII)
VERSION = re.compile(r"(?:版本号?|version|ver\.?|firmware|固件|章节|section)\s*[:：]?\s*$", re.IGNORECASE | re.ASCII)

TRIGGER = re.compile(
    r"[0-9@零〇幺]|www|http|\.[a-z]{2}|wxid|微信|QQ|扣扣|weixin|wechat|vx|微博|抖音|小红书|insta|twitter|telegram|discord|snap|tiktok|\bat\b| dot |[一二三四五六七八九]{5}|u/",
    re.IGNORECASE | re.ASCII,
)
"""Nothing of this in a text: nothing for this module to find."""


def fold(text: str) -> str:
    """The text with full-width letters, digits and marks as ASCII, character for character."""
    return text.translate(_FULL_WIDTH)


@cache
def _public() -> frozenset[str]:
    return PUBLIC_NUMBERS | hotlines.numbers()


def find(original: str, text: str) -> Iterator[Span]:
    """Every structured span. `text` is `fold(original)`; values are cut from the original."""
    if not TRIGGER.search(text):
        return

    def span(type: str, start: int, end: int) -> Span:
        return Span(type, original[start:end], start, end)

    for pattern in (EMAIL, EMAIL_WORDS):
        for m in pattern.finditer(text):
            yield span("EMAIL", m.start(), m.end())
    for m in URL.finditer(text):
        end = m.start() + len(m[0].rstrip(".,;:!?)]}'\""))
        yield span("URL", m.start(), end)
    for m in HANDLE.finditer(text):
        yield span("URL", m.start(), m.start() + len(m[0].rstrip(".-")))
    for m in PLATFORM.finditer(text):
        if re.search(r"[\d_.]", m["v"]) or re.search(
            r"(?:是|叫|为|:|is|@|=|号|id|username|handle)\s*$", text[m.start() : m.start("v")], re.IGNORECASE
        ):
            yield span("URL", m.start("v"), m.start("v") + len(m["v"].rstrip(".-")))
    for m in PLATFORM_HAN.finditer(text):
        yield span("URL", m.start("v"), m.end("v"))
    yield from _identity_cards(text, span)
    for m in BANK.finditer(text):
        digits = re.sub(r"\D", "", m[0])
        if 14 <= len(digits) <= 19 and luhn(digits) and not NOT_PHONE.search(text[max(0, m.start() - 8) : m.start()]):
            yield span("BANK_CARD", m.start(), m.end())
    yield from _phones(text, span)
    for m in WECHAT.finditer(text):
        linked = re.search(r"号|ID|id|是|叫|为|:|=|加我|搜|is|add", m["link"])
        if re.search(r"[\d_-]", m["v"]) or (linked and m["v"].lower() not in _COMMON_AFTER_WECHAT):
            yield span("WECHAT", m.start("v"), m.end("v"))
    for pattern in (WECHAT_AFTER, WECHAT_RAW):
        for m in pattern.finditer(text):
            yield span(
                "WECHAT",
                m.start("v") if pattern is WECHAT_AFTER else m.start(),
                m.end("v") if pattern is WECHAT_AFTER else m.end(),
            )
    for pattern in (QQ, QQ_AFTER):
        for m in pattern.finditer(text):
            yield span("QQ", m.start("v"), m.end("v"))
    for m in PLATE.finditer(text):
        yield span("PLATE", m.start(), m.end())
    for m in PLATE_WORDS.finditer(text):
        if re.search(r"\d", m["v"]):
            yield span("PLATE", m.start("v"), m.end("v"))
    for m in IPV4.finditer(text):
        if all(int(p) <= 255 for p in m[0].split(".")) and not VERSION.search(text[: m.start()]):
            yield span("IP", m.start(), m.end())
    for m in IPV6.finditer(text):
        if m[0].count(":") >= 2 and len(m[0]) > 4 and _is_ipv6(m[0]):
            yield span("IP", m.start(), m.end())


_COMMON_AFTER_WECHAT = {
    "message",
    "messages",
    "group",
    "groups",
    "account",
    "video",
    "voice",
    "moments",
    "chats",
    "friend",
    "friends",
    "contact",
    "never",
    "always",
    "where",
    "after",
    "instead",
    "still",
    "because",
    "today",
    "every",
    "history",
    "iphone",
    "android",
    "really",
    "being",
    "deleted",
    "blocked",
    "about",
}


def _identity_cards(text: str, span: object) -> Iterator[Span]:
    make = span
    assert callable(make)
    for m in ID_CN.finditer(text):
        digits = re.sub(r"[\s-]", "", m[0]).upper()
        if id_checksum(digits) or re.search(r"身份证|证件号|ID card", text[max(0, m.start() - 14) : m.start()]):
            yield make("ID_CARD", m.start(), m.end())
    for m in ID_CN_OLD.finditer(text):
        if re.search(r"身份证|证件", text[max(0, m.start() - 14) : m.start()]):
            yield make("ID_CARD", m.start(), m.end())
    for m in ID_HK.finditer(text):
        if hkid_checksum(re.sub(r"[\s()]", "", m[0])):
            yield make("ID_CARD", m.start(), m.end())
    for m in ID_TW.finditer(text):
        if twid_checksum(m[0]):
            yield make("ID_CARD", m.start(), m.end())
    for m in ID_WORDS.finditer(text):
        yield make("ID_CARD", m.start("v"), m.end("v"))
    for m in SSN.finditer(text):
        if re.search(r"ssn|social security", text[max(0, m.start() - 40) : m.end() + 20], re.IGNORECASE):
            yield make("ID_CARD", m.start(), m.end())


def _phones(text: str, span: object) -> Iterator[Span]:
    make = span
    assert callable(make)

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
    for pattern in (LANDLINE_CN, TAIWAN, US, INTERNATIONAL):
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


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def luhn(digits: str) -> bool:
    """The check digit of bank cards (ISO/IEC 7812-1)."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def id_checksum(number: str) -> bool:
    """The check character of a mainland identity number of 18 characters (GB 11643, ISO 7064 MOD 11-2)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return (
        len(number) == 18
        and "10X98765432"[sum(int(d) * w for d, w in zip(number, weights, strict=False)) % 11] == number[-1]
    )


def hkid_checksum(number: str) -> bool:
    """The check character of a Hong Kong identity card, e.g. A1234563 (brackets removed)."""
    body, check = number[:-1], number[-1]
    padded = body.rjust(8)
    values = [36 if c == " " else ord(c) - 55 if c.isalpha() else int(c) for c in padded]
    rest = 11 - sum(v * w for v, w in zip(values, range(9, 1, -1), strict=True)) % 11
    return check == ("0" if rest == 11 else "A" if rest == 10 else str(rest))


def twid_checksum(number: str) -> bool:
    """The check digit of a Taiwan identity card, e.g. A123456789."""
    code = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(number[0]) + 10
    digits = [code // 10, code % 10, *map(int, number[1:])]
    return sum(d * w for d, w in zip(digits, (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1), strict=True)) % 10 == 0
