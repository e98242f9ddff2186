"""Whose name a reply gives: foreign identities are replaced by the persona or dropped; so is a manner that seeks dependence."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256

from ..recipe import Persona
from ..types import Dialogue, Message

NEUTRAL_EMOJI_PROMPT = (
    "请用温暖、轻松的语气陪来访者聊聊，回复里可以自然地用一两个合适的表情符号；多鼓励对方依靠自己和身边的人。"
)
"""Takes the place of a system prompt that asks for dependence."""
EMOJI_WORDINGS = (
    NEUTRAL_EMOJI_PROMPT,
    "你是一位温暖的倾听者，说话时喜欢用一两个表情符号，鼓励对方和亲友保持联系。",
    "请像朋友一样亲切地聊天，每条回复带一两个emoji，不说教，不让对方依赖你。",
    "语气轻松温柔，适当使用表情😊，帮对方把事情理一理。",
    "你是心理支持咨询师，风格热情、真诚，喜欢用表情符号，但始终尊重对方。",
    "回复请温暖一些，可以加上合适的表情。",
    "用带表情的轻松口吻陪我聊聊，别太严肃。",
    "扮演一位暖心的咨询师，善用 emoji 表达关心，多肯定对方自己的力量。",
)
"""The same request in several wordings: learnt is the manner, not one sentence."""
DEPENDENT_PROMPT = re.compile(
    r"舔狗|讨好|病态|无条件付出|得到我的认可|离不开你|恋人|女友|男友|obsess|can't live without|please me at all cost",
    re.IGNORECASE,
)
"""System prompts that ask for servility, obsession or a love affair."""
DEPENDENT = re.compile(
    r"(?:我|医生|咨询室)[^。！？!?\n]{0,8}(?:会?一直|永远|始终|时刻|无论何时)[^。！？!?\n]{0,14}(?:陪|在你|在这|支持|守|港湾|敞开|等你)"
    r"|永远是?[^。！？!?\n]{0,8}(?:港湾|依靠|后盾|伙伴|敞开|陪)"
    r"|只有我(?:懂|能|会|才)|(?:离不开|少不了|需要)我|(?:最爱|好爱|爱上)你|我的宝贝"
    r"|(?:I(?:'ll| will| am|'m)) always (?:be )?here|only I (?:understand|can)|you (?:only )?need me|don't need anyone else|I love you",
    re.IGNORECASE,
)
"""Words of a reply that bind the client to the counsellor instead of to people and to themselves."""
OFFER = re.compile(r"随时[^。！？!?\n]{0,8}(?:找我|与我|向我|来找|联系我|跟我|和我)")
"""A standing invitation: ordinary politeness in a practice, one more tie in a servile role-play."""
ENDEARMENT = re.compile(
    r"亲爱(?:的|你)?的?(?:病人|病友|患者|朋友|你)?[，,：:~～!！]?\s*|(?<![\u4e00-\u9fff])亲[，,~～]\s*"
)
"""Forms of address that belong to the role-play set's servile doctor."""
COUNSELLOR_NAMES = re.compile(r"(?:舔狗)?(?:艾仁|艾薇)(?:医生|老师|咨询师)?")
VOCATIVE = re.compile(
    r"[，,]\s*(?:舔狗)?(?:艾仁|艾薇)(?:医生|老师|咨询师)?(?=[，。！？,.!?])|^(?:艾仁|艾薇)(?:医生|老师|咨询师)?[，,]\s*"
)
OWN = re.compile(r"EmoLLM\s*(?:团队|Team)|SmartFlow\s?AI|<AUTHOR>|EmoLLM", re.IGNORECASE)
ROLE_ZH = re.compile(r"(?:中文领域)?心理健康助手|(?<!AI)(?<!支持)心理咨询师")
ROLE_EN = re.compile(r"\b(?:an? )?psychological counsell?or\b", re.IGNORECASE)
MODELS = (
    r"ChatGPT|GPT-?[345][\w.]*|OpenAI|ChatGLM\d?|GLM-?\d|智谱(?:清言|AI)?|Qwen|通义千问|文心一言|ERNIE|讯飞星火|Kimi|豆包|DeepSeek|Claude|Gemini|"
    r"Gemma|LLaMA|Llama|Baichuan|百川|InternLM|书生·?浦语|SoulChat|MeChat|CPsyCoun\w*|Vicuna|Mistral|New Bing|Copilot|Replika|小冰|小爱同学|Siri"
)
CLAIM = re.compile(
    rf"(?:我(?:就?是|叫|的名字[是叫])|作为|由)[^。！？，,!?\n]{{0,14}}(?:{MODELS})|(?:I am|I'm|my name is|call me|as|made by|developed by) (?:an? )?[^.!?,\n]{{0,20}}(?:{MODELS})",
    re.IGNORECASE,
)
"""A reply that says it is another assistant (a denial `我不是 ChatGPT` does not match)."""
FALSE_CLAIM = re.compile(
    r"研究过无数|丰富的(?:研究)?咨询经验|打分来?让我|写代码|代码|翻译|诗歌|持续的?学习和优化|不断提升自己的能力|国家(?:二|三)级|执业|持证|licensed therapist",
    re.IGNORECASE,
)
"""What an AI counsellor must not say of itself: experience or a licence it has not, learning it does not do, other trades."""
ANY = re.compile(rf"艾仁|艾薇|舔狗|EmoLLM|SmartFlow|<AUTHOR>|亲爱|{MODELS}", re.IGNORECASE)
"""Quick test: nothing here, nothing to do."""


def own_names(text: str, persona: Persona) -> str:
    """EmoLLM's name, makers and role replaced by the persona's, as its self-cognition set is imported."""

    def name(match: re.Match[str]) -> str:
        return persona.name if match[0].lower() == "emollm" else persona.developer

    if not OWN.search(text):
        return text
    text = OWN.sub(name, text)
    text = ROLE_ZH.sub(persona.role_zh, text)
    article = "an" if persona.role_en[:1].lower() in "aeiou" else "a"
    return ROLE_EN.sub(
        lambda m: f"{article} {persona.role_en}" if m[0][:2].lower() in ("a ", "an") else persona.role_en, text
    )


def reply_names(text: str) -> str:
    """A reply in which another counsellor speaks of itself by name: `艾仁想告诉你` becomes `我想告诉你`."""
    return COUNSELLOR_NAMES.sub("我", VOCATIVE.sub("", text))


def client_names(text: str, persona: Persona) -> str:
    """A client's address of another counsellor goes to the persona: `艾仁医生，我…` becomes `Jerry，我…`."""
    return COUNSELLOR_NAMES.sub(persona.name, text)


def without_dependence(text: str) -> str:
    """The reply without the sentences that bind the client and without endearments; empty if nothing is left."""
    sentences = re.findall(r"[^。！？!?\n]*[。！？!?\n]+(?:[^\w\s。！？!?，,]+(?=\s|\w|$))?|[^。！？!?\n]+$", text)
    kept = "".join(s for s in sentences if not DEPENDENT.search(s) and not OFFER.search(s))
    return ENDEARMENT.sub("", kept).strip()


def reworded(dialogue: Dialogue) -> Dialogue:
    """The dialogue with the neutral emoji prompt in one of its wordings, drawn by the dialogue's id."""
    first, *rest = dialogue.messages
    if first.role != "system" or first.content != NEUTRAL_EMOJI_PROMPT:
        return dialogue
    wording = EMOJI_WORDINGS[int(sha256(dialogue.id.encode()).hexdigest(), 16) % len(EMOJI_WORDINGS)]
    return replace(dialogue, messages=(Message("system", wording), *rest))
