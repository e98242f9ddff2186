"""Personal data with a form of its own: numbers, addresses of the net, plates. All offsets are those of the text given.

`fold` makes full-width letters and digits ASCII without moving anything, so every pattern here is written for ASCII.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from . import phones
from .checksums import hkid_checksum, id_checksum, luhn, twid_checksum
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
    r"(?:抖音|小红书|微博|快手|[Bb]站|哔哩哔哩|知乎|豆瓣|贴吧|推特|电报|陌陌|\binsta(?:gram)?|\bins\b|\big\b|twitter|telegram|discord|snap(?:chat)?|tik\s?tok|facebook|\bline\s?id|steam|reddit|skype|github|line(?=\s?:))"
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
_QQ_WORD = r"(?:QQ|扣扣|企鹅号?|[Qq]号|(?<![A-Za-z])[Qq](?=\s?(?:[:：]|是)))"
QQ = re.compile(
    rf"{_QQ_WORD}(?:\s|号码?|群号?|账号|帐号|小号|大号|是|为|:|加我|加|我|的|联系|一下|is|number|,|就){{0,5}}(?P<v>[1-9](?:[ -]?\d){{4,10}})(?![\d])",
    re.IGNORECASE | re.ASCII,
)
QQ_AFTER = re.compile(
    r"(?<!\d)(?P<v>[1-9]\d{4,10})\s?[（(，,]?(?:这?是|就是|is)?\s?(?:我的?|my)?\s?(?:QQ|扣扣)(?!音乐|群聊)",
    re.IGNORECASE | re.ASCII,
)

ID_CN = re.compile(
    r"(?<![0-9A-Za-z])[1-9]\d{5}[\s-]?(?:19|20)\d{2}[\s-]?(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[\s-]?\d{3}[\dXx](?![0-9A-Za-z])"
    r"|(?<![0-9A-Za-z])[1-9]\d{3}(?:\s\d{4}){3}\s\d[\dXx](?![0-9A-Za-z])",
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
        if (
            14 <= len(digits) <= 19
            and luhn(digits)
            and not phones.NOT_PHONE.search(text[max(0, m.start() - 8) : m.start()])
        ):
            yield span("BANK_CARD", m.start(), m.end())
    yield from phones.find(text, span)
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


def _identity_cards(text: str, make: phones.Make) -> Iterator[Span]:
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


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
