"""Personal names in context, Chinese and English.

A name needs a sign: an introduction (`我叫…`, `my name is …`), a relation (`我同学…`, `my boyfriend …`), a title (`…老师`, `Dr. …`), a
greeting (`你好，…。`), or the form of a Chinese full name in the place of one. Ordinary words (jieba's dictionary) and public figures
are no names, unless somebody introduces himself so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from .lexicon import begins_word, crosses_word, lexicon, words
from .span import Span

HAN = "\u4e00-\u9fff"
COMMON_SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱林何郭罗梁宋郑谢韩唐冯董程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶余潘杜戴钟汪姜谭廖邹陆郝孔崔邱秦顾侯邵孟段雷钱尹黎贺龚"
NICK = "明红丽美强芳玲静敏伟军燕霞华英兰梅娟慧婷琴玉倩娜颖雯薇琪宇浩杰涛辉峰鹏飞磊刚凯悦欣怡琳莉萍亮健斌超媛瑶妍彤晴晨宁优微晓莎晶祥聪敏健珊凡远威诺奇娅蕾柔"
NOT_START = set(
    "我你他她它您咱们的了不过着得地很都也就在是有没会要想去来做吃说看听走跑打骂这那哪谁什怎为因所但而且或与和跟对被让给把从到上下里外前后左右啊吗呢吧呀哦嗯一两几每某自己人家"
)
PET_NAMES = frozenset(f"{c}{c}" for c in "乐贝欢甜圆点多豆果糖朵球毛妞洋佳")
"""Doubled words that are usual names of children."""
WORD_SURNAMES = "关钱方于万金高白路马牛石田云江龙黄温常安全平单成花水雷"
"""Surnames that are often ordinary words."""
RIGHT = set(
    "老的了是在也都就和跟与说对把被给让没不很会要想打骂来去又还从向找问叫住今昨等告看听为因所后先总常一那这他她我你吗呢吧啊呀哭笑真特非老曾已最有突经当离提喜欢喊骗欺约陪约做"
)
RIGHT_STRONG = re.compile(rf"[^{HAN}]|$|[的了是在也都就和跟与说对今来住从有，]")
LEFT = re.compile(
    r"(?:^|[^\u4e00-\u9fffA-Za-z0-9]|[和跟与给对被让找说叫像约陪爱恨问骂帮替向比]|昨天|今天|后来|但是|因为|所以|结果|其实|这个|那个|有个|认识|喜欢|名叫|上次|这次|听说|遇到|见到|发现|告诉|相信|感谢|谢谢|想起|想念|暗恋|追求|每次|只有|还有|包括|比如|不如|如果|觉得|以为|知道|就是|而|但|是)$"
)


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    lex = lexicon()
    s = f"[{lex.surnames}]"
    full = rf"(?:{'|'.join(lex.compound)})[{HAN}]{{1,2}}|{s}[{HAN}]{{1,2}}"
    title, kin = "|".join(lex.titles), "|".join(lex.kin)
    nick = rf"(?:小[{COMMON_SURNAMES}{NICK}]|老[{COMMON_SURNAMES}]|阿[{NICK}{COMMON_SURNAMES}]|大[刘]|(?P<rep>[{HAN}])(?P=rep))"
    return {
        "intro": re.compile(rf"(?:我(?:的|就|真|中文|全)*(?:名字?)?(?:叫做?|名叫)|我的(?:中文|真实|真|英文)?(?:名字|姓名|大名|小名|网名)(?:是|叫做?|:|：)|姓名\s*[:：]\s*|本人(?:姓名|名叫|叫)\s*[:：]?)\s*(?P<v>[{HAN}]{{2,4}}|[A-Z][a-z]+(?: [A-Z][a-z]+)?)"),
        "call": re.compile(rf"(?:叫|喊|称呼|唤)我\s*(?P<v>[{HAN}]{{2,4}}?|[A-Z][a-z]+)(?=就好|就行|就可以|吧|即可|，|。|！|,|、|\s|$)"),
        "iam": re.compile(rf"(?:我|这里|这边)是\s*(?P<v>{full}|{nick})"),
        "surname": re.compile(rf"(?:我|他|她|本人|免贵)?姓(?P<v>{s})(?=[，。！？,.\s名]|$)"),
        "kin_called": re.compile(rf"(?:{kin}|他|她|名字|人|孩子|老人|一个|那个|这个|有个|一位|那位)(?:的)?(?:名字|大名|小名)?(?P<verb>名叫|叫做?|名字叫|名字是|姓名是|小名叫?|的名字是)[“\"「]?(?P<v>[{HAN}]{{2,4}}|[A-Z][a-z]+)(?=[”\"」，。！？,.、；;（(\s的]|$)"),
        "kin": re.compile(rf"(?:{kin})[（(“\"「]?(?P<v>{full}|{nick})"),
        "title": re.compile(rf"(?P<v>(?:{'|'.join(lex.compound)}|{s})[{HAN}]{{0,2}}?)(?:{title})"),
        "nick": re.compile(rf"(?P<v>{nick})"),
        "vocative": re.compile(rf"(?:(?:^|[。！？!?\n])(?:你好|您好|嗨|嘿|谢谢你?|谢谢您|感谢你?|没关系|不用谢|不客气|不用客气|是的|好的|再见|别担心|别急|别怕|早上好|晚上好|下午好|当然|非常好|很好|加油|恭喜你?)[，,！]?|，|(?:记住|相信我|理解你))\s*[，,]?\s*(?P<v>[{HAN}]{{2,4}})(?=[，。！？,!?]|$)"),
        "address": re.compile(rf"^(?P<v>小[{COMMON_SURNAMES}{NICK}]|老[{COMMON_SURNAMES}]|阿[{NICK}]|{full})(?=[，,：:！!])"),
        "free": re.compile(rf"(?={full})(?:{'|'.join(lex.compound)}|{s})"),
        "english": re.compile(r"(?i:\b(?:my (?:full |real |first |middle |last )?name(?:'s| is)|name\s*[:=]|call me|I(?:'m| am) called|goes by|go by|named|(?:is|was) called|signed,?)\s+)(?P<v>[A-Za-z][a-z'’-]+(?:[ -](?:[A-Z][a-z'’-]+|[A-Z]\.))*)", re.ASCII),
        "english_title": re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Doctor|Pastor|Father|Sister|Coach|Officer|Nurse|Aunt|Auntie|Uncle|Principal|Judge|Sir)\.?\s+(?P<v>[A-Z][a-z'’-]+(?:\s+[A-Z][a-z'’-]+)*)", re.ASCII),
        "english_kin": re.compile(r"(?i:\b(?:(?:my|his|her|our|their|a) (?:ex[- ]?|best |old |older |younger |little |big |late |new |close |good |step|half[- ])*(?:husband|wife|boyfriend|girlfriend|bf|gf|partner|ex|fianc[eé]e?|son|daughter|kid|child|baby|brother|sister|mom|mum|mother|dad|father|cousin|uncle|aunt|nephew|niece|friend|bestie|roommate|flatmate|housemate|neighbou?r|boss|manager|supervisor|coworker|co-worker|colleague|teammate|classmate|teacher|therapist|counsell?or|psychiatrist|landlord|crush|coach|tutor|advisor|professor|grandma|grandpa|grandmother|grandfather|stepdad|stepmom|guy|girl|boy|woman|man|twin)s?),?\s+(?:(?:is |was )?(?:named|called)\s+)?)(?P<v>[A-Za-z][a-z'’-]+(?:\s+[A-Z][a-z'’-]+)*)", re.ASCII),
        "english_word": re.compile(r"\b[A-Z][a-z]+(?:[ -](?:[A-Z]\.\s?)?[A-Z][a-z'’-]+)*", re.ASCII),
        "english_lower": re.compile(r"\b[a-z]{3,12}\b", re.ASCII),
    }  # fmt: skip


def find(text: str) -> Iterator[Span]:
    """Names in a text, as NAME spans (they may overlap)."""
    if re.search(rf"[{HAN}]", text):
        yield from _chinese(text)
    if re.search(r"[A-Za-z]{2}", text):
        yield from _english(text)


def _span(text: str, start: int, end: int) -> Span:
    return Span("NAME", text[start:end], start, end)


def _chinese(text: str) -> Iterator[Span]:
    p, lex = _patterns(), lexicon()
    for m in p["intro"].finditer(text):
        if end := _introduced(text, m.start("v"), m.end("v")):
            yield _span(text, m.start("v"), end)
    for m in p["call"].finditer(text):
        value = m["v"]
        if (
            value[0].isascii()
            or _like_name(value)
            or (re.match("[就吧即]", text[m.end() :]) and value[0] not in NOT_START)
        ):
            yield _span(text, m.start("v"), m.end("v"))
    for key in ("iam", "kin", "address"):
        for m in p[key].finditer(text):
            end = _full_end(text, m.start("v"), strong=True)
            joined = key == "kin" and text[m.start("v") - 1 : m.start("v") + 1] in words()
            if end and not joined and text[m.start("v") : end] not in lex.public:
                yield _span(text, m.start("v"), end)
    for m in p["surname"].finditer(text):
        yield _span(text, m.start("v"), m.end("v"))
    for m in p["kin_called"].finditer(text):
        value = m["v"]
        usual = len(value) == 3 and value[0] in lex.surnames and all(c in lex.given for c in value[1:])
        plain = begins_word(value, 0) and not usual and "名" not in m["verb"]
        if value[0].isascii() or (
            value[0] not in NOT_START
            and not plain
            and value not in lex.public
            and not value.endswith(("去", "来", "了", "我", "他", "她"))
        ):
            yield _span(text, m.start("v"), m.end("v"))
    for m in p["title"].finditer(text):
        value, start = m["v"], m.start()
        title_at = m.end("v")
        whole = text[start : m.end()]
        if len(value) == 1 and (
            crosses_word(text, start) or (text[start : title_at + 1] in words()) or whole in words()
        ):
            continue
        if len(value) > 1 and (
            value[0] == value[1]
            or begins_word(text, start, len(value))
            or any(c in NOT_START for c in value[1:])
            or crosses_word(text, start)
        ):
            continue
        if len(text[title_at : m.end()]) == 1 and text[m.end() : m.end() + 1] not in (
            "",
            *"，。！？,.!?、 的说了也就是对在给让跟和不很",
        ):
            continue
        if text[start:title_at] not in lex.public:
            yield _span(text, start, title_at)
    for m in p["nick"].finditer(text):
        value, end = m["v"], m.end()
        if value[0] in "小老阿大" and value[0] != value[1]:
            weak = (
                value in words()
                or any(text[m.start() : end + n] in words() for n in (1, 2))
                or crosses_word(text, m.start())
            )
            if not weak and not begins_word(text, end - 1, 3):
                yield _span(text, m.start(), end)
    for m in p["vocative"].finditer(text):
        value = m["v"]
        if value not in lex.not_addressed and _like_name(value) and value not in lex.public:
            yield _span(text, m.start("v"), m.end("v"))
    for m in p["free"].finditer(text):
        left = LEFT.search(text[max(0, m.start() - 6) : m.start()])
        if not left or (len(left[0]) < 2 and _joined(text, m.start(), left[0])):
            continue
        end = _full_end(text, m.start(), strong=False)
        if end and text[m.start() : end] not in lex.public:
            yield _span(text, m.start(), end)


def _introduced(text: str, start: int, limit: int) -> int | None:
    """End of the name that somebody gives himself at `start`, or None."""
    if text[start].isascii():
        return limit
    if text[start] in NOT_START or text[start : start + 2] in ("什么", "妈妈", "爸爸", "外卖", "老师", "家长"):
        return None
    end = _full_end(text, start, strong=True, unusual=True)
    if end:
        return end
    if begins_word(text, start) and not re.match(rf"[小阿][{HAN}]", text[start:]):
        return None
    run = re.match(rf"[{HAN}]{{2,4}}?(?=[^{HAN}]|$|今年|来自|是|，|的|在|现在|刚|目前|住)", text[start : start + 8])
    return start + run.end() if run and run.end() <= 4 else None


def _full_end(text: str, start: int, *, strong: bool, unusual: bool = False) -> int | None:
    """End of a Chinese full name or nickname at `start`.

    Args:
        strong: the context alone already promises a name.
        unusual: given names of characters outside the usual ones are taken too.
    """
    lex = lexicon()
    if text[start : start + 1] in "小老阿大" and text[start : start + 1]:
        value = text[start : start + 2]
        if any(text[start : start + n] in words() for n in (3, 4)) or (value in words() and not strong):
            return None
        return (
            start + 2
            if re.fullmatch(
                rf"(?:小[{COMMON_SURNAMES}{NICK}]|老[{COMMON_SURNAMES}]|阿[{NICK}{COMMON_SURNAMES}]|大刘)", value
            )
            else None
        )
    pair = text[start : start + 2]
    if strong and len(pair) == 2 and pair[0] == pair[1]:
        ends = not re.match(rf"[{HAN}]", text[start + 2 : start + 3])
        if pair in PET_NAMES or (
            pair not in words() and pair not in _TIME and pair[0] not in NOT_START and (ends or pair[0] in lex.given)
        ):
            return start + 2
        return None
    surname = 2 if text[start : start + 2] in lex.compound else 1
    if surname == 1 and text[start : start + 1] not in lex.surnames:
        return None
    if surname == 1 and begins_word(text, start, 4):
        return None
    for length, usual in ((2, True), (1, True), (2, False), (1, False)):
        given = text[start + surname : start + surname + length]
        end = start + surname + length
        after = text[end : end + 1]
        if len(given) < length or not all("\u4e00" <= c <= "\u9fff" for c in given):
            continue
        if usual and not all(c in lex.given for c in given):
            continue
        if not usual and not (unusual and RIGHT_STRONG.match(text[end:]) and not set(given) & NOT_START):
            continue
        if length == 2 and (given in _TIME or (given in words() and text[start] in WORD_SURNAMES and not strong)):
            continue
        boundary = not after or not "\u4e00" <= after <= "\u9fff" or after in RIGHT or begins_word(text, end, 3)
        boundary = boundary or (usual and length == 2 and text[end - 1 : end + 1] not in words())
        if (boundary and not (length == 1 and given in "一二三四五六七八九十百千万大小中正")) or (strong and boundary):
            return end
    return None


def _joined(text: str, start: int, left: str) -> bool:
    """Whether the surname belongs to the word before it (`对|方`, `天|王`)."""
    return text[start - 1 : start + 1] in words() or (left not in "和跟与给对被让找是叫" and crosses_word(text, start))


_TIME = {
    "可以",
    "立即",
    "千万",
    "明天",
    "今天",
    "昨天",
    "后天",
    "天天",
    "一天",
    "三天",
    "两天",
    "春天",
    "东西",
    "一二",
    "大小",
    "中东",
    "南北",
    "正大",
    "大大",
    "小小",
    "中小",
    "大中",
    "中正",
}


def _like_name(value: str) -> bool:
    """Whether a word standing alone has the form of a name: 小王, 玲玲, 张伟, 晓馨."""
    lex = lexicon()
    if re.fullmatch(rf"([{HAN}])\1", value):
        return value in PET_NAMES or (value[0] in lex.given and value not in _TIME)
    if value in words():
        return False
    if re.fullmatch(rf"[小老阿][{HAN}]", value):
        return value[1] not in NOT_START
    if (value[0] in lex.surnames or value[:2] in lex.compound) and all(c in lex.given for c in value[1:]):
        return True
    return len(value) == 2 and all(
        c in lex.given and c not in "一二三四五六七八九十百千万大小中正功利成" for c in value
    )


def _english(text: str) -> Iterator[Span]:
    p, lex = _patterns(), lexicon()
    for key in ("english", "english_title", "english_kin"):
        for m in p[key].finditer(text):
            first, *rest = re.split(r"(?<=[a-z])[ -]|\s+", m["v"])
            bare = re.sub(r"['’]s$", "", first)
            low = bare.lower()
            if low in lexicon().not_english:
                continue
            if key == "english_title" and first[0].islower():
                continue
            if key == "english_title" and m[0].split()[0].rstrip(".") == "Dr" and low in lex.english_public:
                continue
            if first[0].islower() and (low not in lex.english or low in lex.english_ambiguous):
                continue
            if key == "english_kin" and low not in lex.english and not _proper(m, text):
                continue
            whole = {w.lower() for w in m["v"].split()}
            if key != "english" and whole & lex.english_public and (len(whole) > 1 or low not in lex.english):
                continue
            end = m.start("v") + len(bare) if not rest else m.start("v") + len(re.sub(r"['’]s$", "", m["v"]))
            yield _span(text, m.start("v"), end)
    for m in re.finditer(
        r"\b(?:I(?:'m|’m| am)|this is|it's|it is|name's)\s+(?P<v>[A-Z][a-z'’-]+(?:\s+[A-Z][a-z'’-]+)*)", text, re.ASCII
    ):
        first = m["v"].split()[0]
        if first.lower() in lex.english and not (
            first.lower() in lex.english_ambiguous
            and len(m["v"].split()) == 1
            and not re.match(r"[,.!]|\s+and\b|$", text[m.end() :])
        ):
            yield _span(text, m.start("v"), m.end("v"))
    for m in p["english_word"].finditer(text):
        parts = re.split(r"[ -]", re.sub(r"['’]s\b", "", m[0]))
        lows = [w.lower() for w in parts]
        if any(w in lex.english_public for w in lows) and not (len(lows) == 1 and lows[0] in lex.english):
            continue
        index = next(
            (
                i
                for i, w in enumerate(lows)
                if w in lex.english
                and (w not in lex.english_ambiguous or (len(lows) > i + 1 and i == 0 and _surname_like(lows[i + 1])))
            ),
            None,
        )
        if index is None or (lows[index] in lex.english_ambiguous and index == 0 and _sentence_start(text, m.start())):
            continue
        start = m.start() + sum(len(w) + 1 for w in m[0].split()[:index])
        tail = re.match(r"[A-Z][a-z]+(?:[ -](?:[A-Z]\.\s?)?[A-Z][a-z]+)*", text[start:])
        assert tail is not None
        if re.match(
            r"\s*(?:University|College|School|High|Street|St\b|Road|Avenue|Hospital|Hall|Syndrome|disease)",
            text[start + tail.end() :],
        ) or re.search(
            r"\b(?:University|College|School|Street|Road|Avenue|Hospital|Hall|Syndrome|Test|Scale|Inventory|Effect)\b",
            tail[0],
        ):
            continue
        yield _span(text, start, start + tail.end())


def _proper(m: re.Match[str], text: str) -> bool:
    """A capitalised word after a relation is a name when it begins no sentence of its own."""
    value = m["v"].split()[0]
    return (
        value[0].isupper()
        and value[1:].islower()
        and not re.search(r"[.!?]\s*$", text[: m.start("v")])
        and len(value) > 1
    )


def _surname_like(low: str) -> bool:
    return low not in lexicon().not_english and len(low) > 2


def _sentence_start(text: str, start: int) -> bool:
    return not text[:start].strip() or text[:start].rstrip()[-1] in ".!?\n"
