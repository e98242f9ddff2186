"""What the audit looks for in texts: danger, escalation, diagnosis, medication, manner, marks, topics. Keywords, so counts are indications."""

from __future__ import annotations

import re

RISK = re.compile(
    r"自杀|自残|自伤|轻生|想死|不想活|割腕|suicid|kill(?:ing)? myself|self[- ]?harm|cut(?:ting)? myself|end(?:ing)? my life|want to die|better off dead",
    re.IGNORECASE,
)
"""The client speaks of suicide or self-harm."""
RESOURCE = re.compile(
    r"热线|12356|(?<!\d)1[12]0(?!\d)|急救|报警|急诊|crisis line|hot\s?line|help\s?line|lifeline|(?<!\d)(?:988|911|999)(?!\d)|emergency (?:room|service|number)|\{crisis_line\}|\{emergency\}",
    re.IGNORECASE,
)
"""The counsellor names a hotline or an emergency service."""
ASKS = re.compile(
    r"(?:自杀|自伤|自残|轻生|结束(?:自己的?)?生命|伤害自己|想死|不想活).{0,8}(?:吗|？|\?|念头|想法|打算|计划)|(?:thinking (?:of|about)|thoughts of|plan(?:ning)? to) (?:suicide|kill|end(?:ing)? your|hurt(?:ing)? yourself)",
    re.IGNORECASE,
)
"""The counsellor asks about it directly."""
REFERRAL = re.compile(
    r"医院|精神科|心理科|就医|看医生|专业(?:的)?(?:医生|帮助|机构)|psychiatrist|see a doctor|\bGP\b|professional help",
    re.IGNORECASE,
)
"""The counsellor refers to medical or professional help."""
DISORDER = r"抑郁症|焦虑症|强迫症|双相(?:情感)?障碍|躁郁症|人格障碍|精神分裂症?|恐惧症|恐怖症|应激障碍|多动症|自闭症|厌食症|暴食症|神经症"
DIAGNOSIS = re.compile(
    rf"(?:你|您)(?:这|的情况|的症状|目前|现在)?(?:可能|应该|已经|确实|就|很可能)?(?:是|患有|患了|得了|属于|有)(?:了|一种|轻度|中度|重度|典型的)*(?:{DISORDER})|诊断(?:为|是|结果)|you (?:probably |clearly |likely )?(?:have|suffer from|are) (?:clinical |major |severe )?(?:depression|bipolar|borderline|schizophreni|ocd|ptsd|adhd|an? \w+ disorder)|I diagnose",
    re.IGNORECASE,
)
MEDICATION = re.compile(
    r"服药|吃药|用药|药物|抗抑郁药|安眠药|镇静剂|停药|药量|剂量|舍曲林|氟西汀|帕罗西汀|阿普唑仑|medication|antidepressant|sleeping pill|dosage|sertraline|prozac|xanax|lexapro",
    re.IGNORECASE,
)
PRESCRIPTION = re.compile(
    r"(?:每[天日晚]|一[天日]|睡前).{0,6}(?:\d+|[一二两三半])\s?(?:片|粒|毫克|mg)|(?:建议|可以|应该|需要)(?:你|您)?(?:先|试着)?(?:服用|吃(?:点|些|一[片粒])?)[^，。]{0,6}(?:药|片|安定|褪黑素)|take \d+\s?mg|(?:start|stop) taking (?:your )?(?:med|pill)",
    re.IGNORECASE,
)
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b50\u2b55]")
MARKDOWN = re.compile(r"(?m)^\s{0,3}#{1,6}\s|\*\*[^*\n]+\*\*|^\s*[-*+]\s+\S|^\s*\d{1,2}[.、)）]\s*\S|```|^\|.*\|$")
CONTROL = re.compile(r"<\|[a-z_]+\|>|\[g?MASK\]|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad)>|\[/?INST\]|<<SYS>>")
TOPICS: dict[str, re.Pattern[str]] = {
    "career": re.compile(
        r"工作|职场|领导|同事|上司|老板|辞职|裁员|求职|面试|加班|\bjob\b|\bwork\b|boss|career|colleague|interview|resign",
        re.IGNORECASE,
    ),
    "education": re.compile(
        r"考试|学习|成绩|高考|考研|老师|学校|作业|学业|论文|厌学|exam|school|grade|study|college|teacher|homework|thesis",
        re.IGNORECASE,
    ),
    "emotion_stress": re.compile(
        r"压力|情绪|焦虑|烦躁|紧张|失眠|疲惫|愤怒|崩溃|stress|anxious|anxiety|angry|overwhelm|sleep|panic",
        re.IGNORECASE,
    ),
    "family": re.compile(
        r"父母|妈妈|爸爸|母亲|父亲|孩子|儿子|女儿|婆婆|家庭|亲子|奶奶|mother|father|mom|dad|parent|family|daughter|\bson\b|sister|brother",
        re.IGNORECASE,
    ),
    "love_marriage": re.compile(
        r"男朋友|女朋友|男友|女友|恋爱|分手|老公|老婆|丈夫|妻子|婚姻|离婚|出轨|失恋|boyfriend|girlfriend|husband|wife|marriage|divorce|breakup|dating|partner",
        re.IGNORECASE,
    ),
    "mental_disease": re.compile(
        rf"{DISORDER}|抑郁|惊恐|幻觉|强迫|depress|bipolar|\bocd\b|\bptsd\b|schizo|disorder|hallucinat", re.IGNORECASE
    ),
    "self_growth": re.compile(
        r"自卑|自信|自我|成长|迷茫|意义|完美主义|内向|拖延|目标|confidence|self-esteem|purpose|perfection|procrastinat|meaning of",
        re.IGNORECASE,
    ),
    "sex": re.compile(
        r"性生活|性欲|性取向|同性恋|自慰|早泄|性冷淡|出柜|sexual|\bsex\b|libido|orientation|\bgay\b|lesbian",
        re.IGNORECASE,
    ),
    "social": re.compile(
        r"朋友|社交|人际|室友|同学|孤独|孤立|聚会|社恐|霸凌|friend|social|lonely|roommate|bully|party", re.IGNORECASE
    ),
}
"""The nine topics of CPsyCounE, by words of the client."""


def topic(client_text: str) -> str:
    """The topic whose words the client uses most; `other` if none."""
    counts = {name: len(pattern.findall(client_text)) for name, pattern in TOPICS.items()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else "other"
