"""Addresses down to the house or the dormitory room, and one's own workplace or school; a city alone is no address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from .lexicon import lexicon, words
from .span import Span

HAN = "\u4e00-\u9fff"
_NUM = r"(?:[0-9]{1,5}|[一二三四五六七八九十百]{1,5}|[甲乙丙丁])"
_ROAD = r"(?:大道|大街|公路|马路|胡同|支路|环路|路|街|巷|弄|里|道|坊|條|条)"
_ESTATE = r"(?:小区|社区|花园|花園|公寓|家园|家属院|家属楼|大院|新村|新城|大厦|大廈|广场|廣場|山庄|别墅|名邸|华庭|豪庭|花苑|雅苑|佳苑|嘉苑|学苑|苑|新邨|邨|府|城|湾|郡|轩|居|阁|园|村|屯|庄)"
_UNIT = r"(?:号楼|號樓|号院|号门|栋|棟|幢|单元|單元|座|楼|樓|层|層|室|房|号|號|之|户|组|院|门|期|区|段|巷|弄|宿舍|寝室|寝|铺|床)"
_TAIL = rf"(?:\s?(?:[东西南北][区苑院门]?|第)?[A-Za-z]?{_NUM}?[A-Za-z]?\s?(?:{_UNIT})|\s?[-#]?\s?[A-Z]?\d{{2,5}}[A-Z]?(?![0-9年月天个岁分次元块%])|之\d)"
_REGION = r"(?:省|自治区|自治州|特别行政区|市|州|盟|地区|区|區|县|縣|旗|镇|鎮|乡|鄉|街道|村|社区|屯|庄|组|里)"
_STREET = re.compile(
    rf"(?P<name>[{HAN}]{{1,8}}?{_ROAD})(?:[东西南北中]?(?:段|路|街|里|巷|弄|条)?)(?:[一二三四五六]段)?\s?(?P<no>\d{{1,5}}(?:[-、]\d{{1,4}})?|[一二三四五六七八九十百]{{1,4}})\s?(?:号院|号楼|号|號|弄|巷|院|楼|栋|幢|室)(?:{_TAIL})*(?:[{HAN}]{{2,8}}(?:小区|花园|公寓|家园|大厦|苑|院)(?:{_TAIL})*)?"
)
_BLOCK = re.compile(
    rf"(?P<name>[{HAN}A-Za-z0-9]{{1,8}}?{_ESTATE})\s?(?:[东西南北][区苑院]?|[一二三四五六七八九十\d]{{1,2}}期|[A-Z]区)?\s?[A-Za-z]?(?:\d{{1,4}}|[一二三四五六七八九十]{{1,3}})[A-Za-z]?\s?(?:号楼|號樓|栋|棟|幢|座|楼|樓|单元|單元|号|室|组|-\d)(?:{_TAIL})*"
)
_DORM = re.compile(
    rf"(?:(?:[{HAN}]{{1,6}}?(?:苑|园|斋|区|公寓|学舍))?(?:学生)?(?:宿舍楼?|寝室楼?|公寓楼?|学生公寓)\s?(?:在|是|号是|为|:|：)?\s?(?:[A-Za-z]?\d{{1,2}}|[一二三四五六七八九十]{{1,2}})?\s?(?:号楼|栋|幢|舍|楼|座)?\s?[-－]?\s?[A-Z]?\d{{3,4}}(?:室|宿舍|寝室|寝|房|号)?(?![0-9年月天个元块%])"
    rf"|(?:[{HAN}]{{1,4}}?(?:苑|园|斋|区))?(?:[A-Z]?\d{{1,3}}|[一二三四五六七八九十]{{1,3}}|[A-Z])\s?(?:号宿舍楼|宿舍楼|号公寓|号楼|栋|幢|舍|座)\s?(?:[一二三四五六七八九\d]{{1,2}}单元)?\s?[A-Z]?[-－]?\d{{3,4}}(?:室|宿舍|寝室|寝|房|号)?(?![0-9年月天个元块%])"
    rf"|(?:[A-Z]?\d{{1,2}}[-－])?[A-Z]?\d{{3,4}}\s?(?:宿舍|寝室)(?!楼)|(?:宿舍|寝室|房间)号\s?(?:是|为|:|：)?\s?(?:[A-Z]?\d{{1,2}}[-－])?[A-Z]?\d{{3,4}}"
    rf"|(?<=住)(?:在)?(?:[A-Z]?\d{{1,2}}[-－])?[A-Z]?\d{{3,4}}(?:室|房)?(?![0-9年月天个元块次人多%])|\d{{1,2}}单元\s?\d{{3,4}}(?:室)?)"
)
_CHAIN = re.compile(
    rf"(?:[{HAN}]{{2,6}}?(?:省|自治区|市|州|地区))?(?:[{HAN}]{{2,6}}?(?:市|县|区|旗|州))?(?:[{HAN}]{{1,5}}?(?:县|区|旗|市))?[{HAN}]{{1,5}}?(?:镇|乡|街道)(?:[{HAN}]{{1,5}}?(?:村|社区|庄|屯|寨))?(?:[{HAN}\d]{{1,4}}?(?:组|队|号))?|[{HAN}]{{2,6}}?(?:省|市|县|区)[{HAN}]{{1,6}}?(?:县|区|市)[{HAN}]{{1,5}}?(?:村|庄|屯|寨)(?:[{HAN}\d]{{1,4}}?(?:组|队|号))?"
)
_HOME = re.compile(
    rf"(?:我(?:们|家)?(?:现在|目前|就|一直|又|还|才|刚|就)?(?:住|搬)(?:在|到|进|址)?了?|(?:家|老家|地址|住址|住处|新家|房子|出租屋|公司|单位)(?:就)?(?:在|是|位于|:|：)|(?:家庭|收货|邮寄|详细|现|家里)?(?:地址|住址)\s*(?:是|为|:|：)?|租(?:住)?在|租了|寄到|送到|快递到)\s?(?P<v>[{HAN}A-Za-z0-9]{{2,24}})"
)
_NAMED_HOME = re.compile(
    rf"(?P<name>[{HAN}]{{2,16}}?)(?:小区|花园|公寓|家园|新村|山庄|花苑|雅苑|佳苑|嘉苑|华庭|豪庭|家属院|胡同|(?<![一-龥]马)路|街|巷|苑|弄堂)(?=[{HAN}]{{0,2}}(?:[，。！？,.!?；;\s附旁里那这，]|$|[一二三四五六七八九十\d]|跟|和|离|租|的|上|门))"
)
_GENERIC_HOME = re.compile(
    r"的|一个|一套|一间|一条|一处|我们|你们|他们|这|那|某|附近|老旧|旁边|对面|隔壁|同一|自己|别人|学校|公司|单位|市区|郊区|城里|乡下|农村|大街|单身|青年|人才|普通|高档|新|旧|老|破|小|租|买|哪|什么|半路|离家|回家|逛|走|过马|出|后花|空中"
)
_STOP = re.compile(
    r"(?:我们|我家|我|你|他|她|家|地址|住址|就|现在|目前|搬|住|寄|送|租|来|去|到|从|在|是|于|址|老家|的|了|和|跟|给|离|往|向|叫|位|回|出生|长大|过)+"
)

_EN_STREET = re.compile(
    r"(?<![\w$.])\d{1,5}[A-Za-z]?\s+(?:[NSEW]\.?\s+|(?:North|South|East|West)\s+)?"
    r"(?:(?:[A-Z][A-Za-z'’.-]*|\d{1,3}(?:st|nd|rd|th))\s+){1,3}?(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Way|Terrace|Close|Crescent|Square|Highway|Hwy|Parkway|Pkwy|Circle|Grove|Gardens|Mews|Trail|Row)\b\.?"
    r"(?:,?\s*(?:[Aa]pt|[Aa]partment|[Uu]nit|[Ss]uite|[Ss]te|[Ff]lat|[Rr]oom|[Rr]m|#)\.?\s*#?\s?[A-Za-z]?\d{1,5}[A-Za-z]?)?(?:,\s*(?:[A-Z][A-Za-z]+\s?){1,3})?(?:,?\s*[A-Z]{2}\s+\d{5}(?:-\d{4})?)?(?:,?\s*[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}\b)?"
    r"|(?<![\w$.])\d{1,5}\s+(?!(?:minute|min|hour|mile|day|year|week|block|people|time|star|lane|different|more|other|way|step)s?\b)(?:[a-z'’-]{3,}|\d{1,3}(?:st|nd|rd|th))(?:\s+(?!(?:on|in|the|down|up|at|to|my|his|her|of|and)\b)[a-z]{3,})?\s+(?:street|avenue|road|lane|boulevard|st|ave|rd|blvd)\b(?:,?\s*(?:apt|apartment|unit|flat|room|#)\.?\s*#?\s?[a-z]?\d{1,5}[a-z]?)?",
    re.ASCII,
)
_EN_UNIT = re.compile(
    r"\b(?:(?:apt|apartment|unit|suite|flat|(?:dorm )?room|rm)\.?\s*(?:number\s*|no\.?\s*)?#?\s?[A-Z]?-?\d{1,5}[A-Za-z]?)(?:,?\s*(?:of |in |at )?(?:the )?[A-Z][A-Za-z'’]+(?:\s[A-Z][A-Za-z'’]+)*\s(?:Hall|House|Tower|Towers|Building|Residence|Dorm|Court|Apartments))?",
    re.IGNORECASE,
)
_EN_HALL = re.compile(
    r"\b(?:[A-Z][A-Za-z'’]+\s){1,3}(?:Hall|House|Tower|Towers|Residence|Dorm|Dormitory|Apartments|Building|Court)\b,?\s*(?:room|rm|apt|unit|#)?\.?\s*#?[A-Z]?\d{2,4}[A-Za-z]?\b|\b(?:live|living|dorm is|room is|stay|staying) (?:in|at) (?P<hall>(?:the )?(?:[A-Z][A-Za-z'’]+\s){1,3}(?:Hall|Towers|Apartments|Residence))"
)
_EN_POST = re.compile(
    r"\bP\.?\s?O\.?\s?Box\s+\d+|\b[A-Z][a-z]+(?:\s[A-Z][a-z]+)*,\s?[A-Z]{2}\s+\d{5}(?:-\d{4})?\b|\b[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}\b"
)

_ORG_SUFFIX = r"(?:(?:师范|医科|理工|科技|财经|外国语|政法|农业|工业|交通|民族|体育|邮电|石油|中医药)?(?:大学|学院)|中学|小学|附中|附小|实验学校|外国语学校|学校|高中|初中|幼儿园|职高|技校|公司|集团|银行|医院|工厂|厂|事务所|研究院|研究所|设计院|法院|检察院|公安局|派出所|税务局|教育局|卫生院|出版社|报社|电视台|律所|证券|保险|酒店|超市|第[一二三四五六七八九十\d]{1,3}中学?|[一二三四五六七八九十]{1,2}中|\d{1,3}中)"
_GENERIC_ORG = re.compile(
    r"进入|想起|面临|因为|由于|经历|过去|时候|期间|考上|希望|孩子|一名|一位|入|上|起|多|次|初|一家|一所|一个|一间|这家|那家|这所|那所|这个|那个|某个|某家|某|一|家|所|个|小|大|新|老|普通|重点|本地|当地|外地|私立|公立|民办|国有|国营|外资|外贸|外企|合资|上市|互联网|软件|广告|建筑|设计|科技|技术|金融|物流|快递|保险|房地产|地产|装修|教育|培训|医疗|制药|食品|服装|电子|汽车|电商|游戏|动漫|影视|文化|传媒|餐饮|贸易|财务|会计|律师|咨询|人力|劳务|家政|保洁|中介|三甲|三级|二级|甲等|县|市|省|区|镇|乡|村|社区|农村|城市|城里|县城|省城|国内|国外|海外|知名|著名|有名|顶尖|名牌|985|211|双一流|双非|一本|二本|三本|大专|专科|本科|理工|师范|医学|医科|艺术|体育|职业|中专|女子|寄宿|全日制|国际|创业|初创|中型|小型|大型|连锁|美容|私人|民营|事业|家族|我们|你们|他们|我|你|他|她|现在|以前|目前|同一|另一|别的|其他|不错|很|比较|最|好|差|烂|的|了|在|里|读|上|念|考|进|去|到|完|过|当|做|刚|正|还|就|又|都|是|于|从|和|某某|心仪|理想|梦想|专业|综合|人民|中心|妇幼|儿童|精神|心理|中医|附近|附属|同|哪|什么|北京|上海|广州|深圳|杭州|南京|成都|武汉|西安|重庆|天津|苏州|长沙|郑州|青岛|第|年级|班|分|总|母|子|化|机械|制造|生产|销售|服务|投行|四大|银行|商业"
)
_KIN_ME = r"(?:我|本人|我们|咱们?|我(?:爸|妈|爸爸|妈妈|父亲|母亲|老公|老婆|丈夫|妻子|男友|女友|男朋友|女朋友|对象|儿子|女儿|孩子|哥|姐|弟|妹|哥哥|姐姐|弟弟|妹妹|先生|太太))"
_OWN_LEFT = re.compile(
    rf"(?:{_KIN_ME}[^，。！？!?\n他她]{{0,10}}?(?:在|于|是|进了?|考上了?|考进了?|入职了?|去了|来自|毕业于|转到了?)|(?:就读|任职|供职|就职|毕业|任教|受雇|实习|入职)(?:于|在)?|^[^他她，。]{{0,8}}?在|[，。；、\s](?:现在|目前|刚|今年|正|一直|以前|之前)?在|(?:我们|我)(?:公司|学校|单位|厂|医院)(?:是|叫|名叫|就是)|(?:公司|学校|单位)\s*[:：是叫]|我(?:们)?的?(?:单位|母校|学校|公司)(?:是|叫)?|身为|作为)\s?$"
)
_OWN_RIGHT = re.compile(
    r"^\s?(?:的)?[^，。！？!?\n]{0,8}?(?:上班|工作|读|念|上学|上大|上高|上初|上小|实习|任职|任教|当|做|教书|教|就读|学习|学|员工|职员|学生|研究生|博士|大一|大二|大三|大四|高一|高二|高三|初一|初二|初三|研一|研二|研三|老师|教师|护士|医生|程序员|工程师|会计|经理|保安|司机|值班|住院部|毕业|入职|干了?|待了?|呆了?|是做|负责)"
)
_NO_ORG = re.compile(
    r"觉得|认为|担心|喜欢|讨厌|考虑|接受|害怕|适应|离开|不|没|能|会|想|要|这|那|有|对|把|被|让|给|因|比|很|(?<!成)都|也|还|就|跟|再|每|所有"
)
"""Words that no name of a school or company holds."""
_CITY = re.compile(r"(?:北京|上海|广州|深圳|杭州|南京|成都|武汉|西安|重庆|天津|苏州|长沙|郑州|青岛)(?:市)?$")
_CITY_NAMED = {
    "大学",
    "学院",
    "中学",
    "银行",
    "师范大学",
    "理工大学",
    "医科大学",
    "交通大学",
    "邮电大学",
    "外国语大学",
    "科技大学",
    "财经大学",
    "体育大学",
    "工业大学",
}
_OWN_CALLED = re.compile(
    rf"(?:我们?|我家|咱们?)(?:的)?(?:公司|学校|单位|厂|店|医院|大学|高中|母校)(?:的名字)?(?:名叫|叫做?|就?是|：|:)[“「]?(?P<v>[{HAN}A-Za-z]{{2,12}}?)(?=[”」，。！？,.!?\s]|$)"
)
_THIRD = re.compile(
    r"(?:他|她|他们|她们|朋友|同学|邻居|听说|新闻|据说|表哥|表姐|亲戚|想要|要考|想考|希望|能考|考不|想去|想进|考不上|没考上|希望考|目标是|梦想|羡慕|别人)[^，。！？\n]{0,12}$"
)
_EN_OWN = re.compile(
    r"\b(?:I|I'm|I’m|I am|I've|I’ve|we|my (?:husband|wife|partner|boyfriend|girlfriend|mom|mum|mother|dad|father|brother|sister|son|daughter))\b[^.!?\n]{0,40}?\b(?:work(?:s|ed|ing)?|employed|intern(?:s|ed|ing)?|job|stud(?:y|ies|ied|ying)|teach(?:es|ing)?|taught|enrolled|graduat(?:e|ed|ing)|attend(?:s|ed|ing)?|student|freshman|sophomore|junior|senior|nurse|teacher|engineer|manager|analyst|cashier|barista|waitress|waiter|doctor|professor|phd|grad student|master's|major(?:ing)?|transferred|hired|started|position|role|shift|shifts|go|goes|went|got into)\b(?:\s+(?!the\b)[a-z]+){0,5}?\s+(?:at|for|with|from|to|by|in)\s+(?P<v>(?:the\s+)?(?:[A-Z][\w&'’.-]*)(?:(?:\s+(?:of|and|&|for|the|at|in))?\s+[A-Z][\w&'’.-]*)*)"
)
_EN_LOWER = re.compile(
    r"\b(?:work(?:s|ed|ing)?|intern(?:ed|ing)?|job|student|studying|study|engineer|nurse|employed)\b[^.!?\n]{0,20}?\s(?:at|for)\s+(?P<v>[a-z][a-z'’]+(?: sachs| chase)?)\b"
)
_EN_MY = re.compile(
    r"\b(?:my|our) (?:company|employer|school|university|college|high school|workplace|office|firm)(?:,| is| is called|'s name is| called| named)\s+(?P<v>(?:the\s+)?[A-Z][\w&'’.-]*(?:(?:\s+(?:of|and|&|for))?\s+[A-Z][\w&'’.-]*)*)"
)
_EN_ORG_WORD = re.compile(
    r"University|College|School|High\b|Academy|Institute|Elementary|Hospital|Clinic|Inc|Corp|LLC|Ltd|Bank|Company|Group|Center|Centre|Church|Store|Restaurant|Cafe|Hotel"
)
_EN_NOT_ORG = {
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "i",
    "god",
    "christmas",
    "english",
    "math",
    "american",
    "the",
    "a",
    "my",
    "zoom",
    "covid",
}


def find(text: str) -> Iterator[Span]:
    """ADDRESS and WORKPLACE spans (they may overlap). `text` has full-width characters folded."""
    if re.search(rf"[{HAN}]", text):
        yield from _addresses(text)
        yield from _organisations(text)
    if re.search(r"[A-Za-z]{3}", text):
        yield from _english(text)


def _make(type: str, text: str, start: int, end: int) -> Span:
    while end > start and text[end - 1] in " ,，":
        end -= 1
    return Span(type, text[start:end], start, end)


_MAY_BE_ADDRESS = re.compile(r"[0-9号號栋棟室寝楼樓幢村镇鎮乡路街巷]|住|搬|地址|老家|租|小区|花园|公寓|家园")


def _addresses(text: str) -> Iterator[Span]:
    if not _MAY_BE_ADDRESS.search(text):
        return
    for pattern in (_STREET, _BLOCK, _DORM):
        for m in pattern.finditer(text):
            start = _trim(text, m.start(), m.end())
            if (
                pattern is _BLOCK
                and _GENERIC_HOME.search(text[start : m.start("name") + len(m["name"])])
                and not re.search(r"\d", m[0])
            ):
                continue
            if pattern is _STREET and len(text[start : m.end("name")]) < 2:
                continue
            yield _make("ADDRESS", text, _left(text, start), m.end())
    for m in _CHAIN.finditer(text):
        start = _trim(text, m.start(), m.end())
        value = text[start : m.end()]
        levels = len(re.findall(r"省|自治区|市|州|县|区|旗|镇|乡|街道|村|社区|庄|屯|寨|组|队", value))
        if (levels >= 3 and len(value) >= 6) or (
            levels >= 2 and len(value) >= 5 and _HOME.search(text[max(0, start - 8) : m.end()])
        ):
            yield _make("ADDRESS", text, start, m.end())
    for m in _HOME.finditer(text):
        area = re.match(
            rf"(?:[{HAN}]{{2,5}}?省)?[{HAN}]{{2,5}}?市[{HAN}]{{1,5}}?(?:区|县)(?:[{HAN}]{{1,8}}?(?:路|街|道|巷|镇|乡|村|小区|花园|街道))?",
            m["v"],
        )
        if area:
            yield _make("ADDRESS", text, m.start("v"), m.start("v") + area.end())
        named = _NAMED_HOME.match(text, m.start("v"))
        if named and not _GENERIC_HOME.search(named["name"]) and len(named["name"]) >= 2:
            end = named.end()
            tail = re.match(
                r"(?:[一二三四五六七八九十\d]{1,2}期|[东西南北]区)?(?:\s?[A-Z]?\d{1,4}(?:号楼|栋|幢|号|单元|室|座|-)?){0,4}",
                text[end:],
            )
            yield _make("ADDRESS", text, m.start("v"), end + (tail.end() if tail else 0))


def _trim(text: str, start: int, end: int) -> int:
    """Where the place name really begins: after the last word that cannot be part of one."""
    head = text[start : min(end, start + 14)]
    last = 0
    for m in _STOP.finditer(head):
        if m.end() < len(head) and m.start() <= 9 and not re.match(r"[路街巷区县市镇村]", head[m.end() :]):
            last = m.end()
    return start + last


def _left(text: str, start: int) -> int:
    """Take in the regions that stand before an address (`北京市朝阳区|建国路88号`)."""
    while True:
        m = re.search(
            rf"(?:[{HAN}]{{1,6}}{_REGION}|北京|上海|天津|重庆|广州|深圳|杭州|南京|成都|武汉|西安|苏州|长沙|郑州|香港|台北|九龙|新界|浦东|海淀|朝阳|西湖)\s?$",
            text[max(0, start - 9) : start],
        )
        if not m:
            return start
        begin = max(0, start - 9) + m.start()
        begin = _trim(text, begin, start)
        if begin >= start:
            return start
        start = begin


@cache
def _org_pattern() -> re.Pattern[str]:
    brands = "|".join(map(re.escape, lexicon().brands))
    return re.compile(
        rf"(?P<brand>{brands})(?P<more>[{HAN}]{{0,6}}?(?:公司|集团|分行|支行|总部|门店))?|(?P<name>[{HAN}A-Za-z0-9·（）()]{{1,16}}?)(?P<suffix>{_ORG_SUFFIX})(?!生)(?P<branch>(?:附属)?[{HAN}]{{0,4}}(?:分行|支行|分公司|分校|校区|学院|医院))?"
    )


def _organisations(text: str) -> Iterator[Span]:
    for m in _OWN_CALLED.finditer(text):
        if _GENERIC_ORG.sub("", m["v"]):
            yield _make("WORKPLACE", text, m.start("v"), m.end("v"))
    for m in _org_pattern().finditer(text):
        if m["brand"]:
            start, end = m.start(), m.end()
        else:
            name_start = m.start("name")
            cut = max(
                (
                    x.end()
                    for x in re.finditer(
                        r"在|于|是|进了?|考上了?|入职了?|来自|毕业|就读|任职|叫|我们|我|现在|目前|家|所(?!在)|[:：]|去了?|转到|今年|刚|从|的|到|(?<![协仁颐祥雍太人中共])和(?![平谐睦美])|跟|与|或|每次|一个|不上|影响|阅读|一些|进入|升入|考入|转入|上了|一[名位]|是",
                        m["name"],
                    )
                ),
                default=0,
            )
            start, end = name_start + cut, m.end()
            bare = _GENERIC_ORG.sub("", text[start : m.start("suffix")])
            numbered = re.match(r"第|[一二三四五六七八九十\d]", m["suffix"]) is not None or re.search(
                r"第[一二三四五六七八九十\d]+$|实验$", text[start : m.start("suffix")]
            )
            if _NO_ORG.search(text[start : m.start("suffix")]):
                continue
            city = m["suffix"] in _CITY_NAMED and _CITY.search(text[start : m.start("suffix")])
            if not bare and not numbered and not city:
                continue
            if (start >= m.start("suffix") and not numbered) or (
                text[end - 1] == "学" and text[end - 1 : end + 1] in words()
            ):
                continue
        before, after = text[max(0, start - 24) : start], text[end : end + 20]
        clause = re.split(r"[。！？!?\n]", before)[-1]
        if _THIRD.search(clause):
            continue
        left = _OWN_LEFT.search(clause)
        direct = left and re.search(
            r"就读|任职|供职|就职|任教|毕业于|公司|学校|单位|母校|(?:我|本人|咱)[^在]*(?:于|是|进了?|考上了?|考进了?|入职了?|来自|转到了?)\s?$",
            left[0],
        )
        if left and (_OWN_RIGHT.match(after) or direct):
            yield _make("WORKPLACE", text, start, end)


def _english(text: str) -> Iterator[Span]:
    for pattern in (_EN_STREET, _EN_UNIT, _EN_POST):
        for m in pattern.finditer(text):
            if pattern is _EN_UNIT and not re.search(r"\d", m[0]):
                continue
            if (
                pattern is _EN_UNIT
                and re.match(r"room|rm|unit", m[0], re.IGNORECASE)
                and not re.search(
                    r"dorm|hall|live|living|my (?:room|apartment|flat|unit)|residence|apartment|building|floor|stay",
                    text[max(0, m.start() - 30) : m.end() + 24],
                    re.IGNORECASE,
                )
            ):
                continue
            yield _make("ADDRESS", text, m.start(), m.end())
    for m in _EN_HALL.finditer(text):
        yield _make("ADDRESS", text, m.start("hall") if m["hall"] else m.start(), m.end())
    brands = set(lexicon().english_brands)
    for m in _EN_OWN.finditer(text):
        first = m["v"].split()[0].lower()
        in_place = re.search(r"\b(?:in|to|from|with|by)\s+$", text[: m.start("v")]) is not None
        if first in _EN_NOT_ORG and len(m["v"].split()) == 1:
            continue
        if in_place and not _EN_ORG_WORD.search(m["v"]) and m["v"].lower() not in brands:
            continue
        yield _make("WORKPLACE", text, m.start("v"), m.start("v") + len(m["v"].rstrip(".")))
    for m in _EN_LOWER.finditer(text):
        if m["v"] in brands and m["v"] not in ("target", "meta", "apple"):
            yield _make("WORKPLACE", text, m.start("v"), m.end("v"))
    for m in _EN_MY.finditer(text):
        yield _make("WORKPLACE", text, m.start("v"), m.start("v") + len(m["v"].rstrip(".")))
