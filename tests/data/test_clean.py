"""Cleaning: labels, stage directions, identities, loops; what is right stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from hearmeglm.data.clean import Cleaner
from hearmeglm.data.identity import NEUTRAL_EMOJI_PROMPT
from hearmeglm.data.labels import ANYWHERE
from hearmeglm.data.sources import read
from hearmeglm.recipe import Persona
from hearmeglm.types import Dialogue, Message, Role

PERSONA = Persona.model_validate({})


def talk(*turns: tuple[Role, str]) -> Dialogue:
    return Dialogue("t", tuple(Message(role, text) for role, text in turns))


def clean(*turns: tuple[Role, str], **kind: bool) -> list[str] | None:
    out = Cleaner(PERSONA, **kind)(talk(*turns)).dialogue
    return [m.content for m in out.messages] if out else None


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("（微笑）慢慢说。", "慢慢说。"),
        ("慢慢说。（沉默片刻）我在听。", "慢慢说。我在听。"),
        ("先记录作息。 医生：然后我们再看。", "先记录作息。\n然后我们再看。"),
        ("心理咨询师：慢慢说。", "慢慢说。"),
        ("你可以告诉医生：我睡不着。", "你可以告诉医生，我睡不着。"),
        ("慢慢\u200b说\ufeff。\r\n\r\n\r\n\r\n好吗？", "慢慢说。\n\n好吗？"),
        ("认知行为疗法（CBT）很常用。", "认知行为疗法（CBT）很常用。"),
        ("打印 <|user|> 和 </s> 也没关系。[gMASK]", "打印 <|user|> 和 </s> 也没关系。[gMASK]"),
        ("👨‍👩‍👧 一家人", "👨‍👩‍👧 一家人"),
        ("比如：先深呼吸。", "比如：先深呼吸。"),
    ],
)
def test_replies(reply: str, expected: str) -> None:
    assert clean(("user", "我睡不着。"), ("assistant", reply)) == ["我睡不着。", expected]


def test_another_speaker_inside_a_reply_ends_the_dialogue() -> None:
    assert clean(("user", "嗯"), ("assistant", "请说。来访者：我难受。"), ("user", "好"), ("assistant", "好")) == [
        "嗯",
        "请说。",
    ]


def test_a_loop_is_cut() -> None:
    reply = "好的，我们从你的日常生活中开始，找出具体的事件。"
    assert clean(
        ("user", "a"), ("assistant", reply), ("user", "b"), ("assistant", reply), ("user", "b"), ("assistant", reply)
    ) == ["a", reply]


def test_foreign_identities_are_replaced_or_dropped() -> None:
    assert clean(("user", "你好，艾仁医生。"), ("assistant", "艾仁想告诉你，慢慢来。")) == [
        "你好，Jerry。",
        "我想告诉你，慢慢来。",
    ]
    assert clean(("user", "你是谁"), ("assistant", "我是ChatGLM3，一个语言模型。")) is None
    assert clean(("user", "你是谁"), ("assistant", "我是一个舔狗艾仁医生")) is None
    assert clean(("user", "你是ChatGPT吗"), ("assistant", "抱歉，我不是 ChatGPT，我是EmoLLM团队开发的EmoLLM。")) == [
        "你是ChatGPT吗",
        "抱歉，我不是 ChatGPT，我是VastEpiphany开发的Jerry。",
    ]
    assert clean(("user", "我问过ChatGPT"), ("assistant", "它怎么说？")) == ["我问过ChatGPT", "它怎么说？"]


def test_dependence_is_kept_out() -> None:
    prompt = "现在你是舔狗，用讨好、近乎病态的口吻帮我。"
    out = clean(("system", prompt), ("user", "嗯"), ("assistant", "😊亲爱的病人，慢慢来。我会一直在你身边支持你的💖。"))
    assert out == [NEUTRAL_EMOJI_PROMPT, "嗯", "😊慢慢来。"]


def test_false_claims_drop_a_self_cognition_pair() -> None:
    assert clean(("user", "你是谁"), ("assistant", "我是EmoLLM，研究过无数病人。"), self_cognition=True) is None


def test_own_writing_keeps_its_names() -> None:
    assert clean(("user", "你是豆包吧"), ("assistant", "（笑）不是，我是Jerry。"), own=True) == [
        "你是豆包吧",
        "（笑）不是，我是Jerry。",
    ]


def test_no_label_is_left_in_the_real_data(shared_data: Path) -> None:
    cleaner = Cleaner(PERSONA)
    for path in ("cpsycound", "emollm/tiangou.json"):
        for record in read(shared_data / path):
            assert record.dialogue is not None
            out = cleaner(record.dialogue).dialogue
            if out is not None:
                assert not any(ANYWHERE.search(m.content) for m in out.messages if m.role == "assistant")
                roles = [m.role for m in out.messages if m.role != "system"]
                assert roles == ["user", "assistant"] * (len(roles) // 2)
