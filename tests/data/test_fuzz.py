"""Fuzzing of the readers: whatever the bytes, a count or one DataError, never a crash. HEARME_FUZZ=N runs N examples a test."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearmeglm.data.clean import Cleaner
from hearmeglm.data.formats import JSON_FORMATS
from hearmeglm.data.privacy import Scrubber
from hearmeglm.data.sources import read, survey
from hearmeglm.errors import DataError
from hearmeglm.recipe import Persona
from hearmeglm.types import Dialogue, Message

EXAMPLES = int(os.environ.get("HEARME_FUZZ", "60"))
quick = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
texts = st.text(max_size=40) | st.sampled_from(
    [
        "来访者：",
        "心理咨询师：你好",
        "（笑）",
        "1. 一",
        "\ud800",
        "\x00",
        "妈妈：好",
        "医生：",
        "艾仁医生",
        "<|user|>",
        "\u200b",
        "13812345678",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "role",
                    "content",
                    "conversations",
                    "from",
                    "value",
                    "conversation",
                    "input",
                    "output",
                    "system",
                    "instruction",
                    "history",
                    "dialog",
                    "speaker",
                    "text",
                    "labels",
                    "user",
                    "assistant",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)
messages = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "assistant", "system", "tool", "x"]), "content": texts | values}
            ),
            max_size=6,
        )
    }
)
transcripts = st.lists(
    st.sampled_from(
        [
            "来访者：",
            "心理咨询师：",
            "来访者（甲）：",
            "妈妈：",
            "（",
            "）",
            "1. ",
            "\r\n",
            "\n",
            "\n\n",
            "\ufeff",
            "嗯",
            "后续咨询中，心理咨询师与来访者",
        ]
    )
    | texts,
    max_size=25,
).map("".join)


def check(raw: bytes, name: str, format: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(raw)
        cleaner = Cleaner(Persona.model_validate({}))
        try:
            records = list(read(path, format))
            reading = survey(path, format)
        except DataError as err:
            assert "\n" not in str(err)  # noqa: PT017
            return
        assert reading.dialogues == sum(r.dialogue is not None for r in records)
        assert reading.dropped == sum(r.dialogue is None for r in records)
        for record in records:
            if record.dialogue is not None:
                json.dumps(record.dialogue.to_json(), ensure_ascii=False).encode("utf-8")
                roles = [m.role for m in record.dialogue.messages if m.role != "system"]
                if record.dialogue.meta.get("format") != "psysuicide":
                    assert roles == ["user", "assistant"] * (len(roles) // 2)
                    cleaner(record.dialogue)


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


@pytest.mark.parametrize("format", ["auto", "cpsycound", *JSON_FORMATS])
def test_any_value_in_any_format(format: str) -> None:
    @quick
    @given(st.lists(values | messages, max_size=4), st.sampled_from(["json", "jsonl"]))
    def run(rows: list[Any], suffix: str) -> None:
        check(dump(rows) if suffix == "json" else b"\n".join(map(dump, rows)), f"x.{suffix}", format)

    run()


@pytest.mark.parametrize("name", ["x.txt", "x.json", "x.jsonl"])
def test_any_bytes(name: str) -> None:
    @quick
    @given(st.binary(max_size=200))
    def run(raw: bytes) -> None:
        check(raw, name, "auto")

    run()


@quick
@given(transcripts, st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16"]))
def test_any_transcript(text: str, encoding: str) -> None:
    check(text.encode(encoding, "replace"), "case_1.txt", "auto")


@quick
@given(st.binary(min_size=1, max_size=30), st.integers(0, 400))
def test_damaged_files(noise: bytes, at: int) -> None:
    good = (
        dump({"messages": [{"role": "user", "content": "我睡不着"}, {"role": "assistant", "content": "多久了？"}]})
        + b"\n"
    )
    raw = bytearray(good * 4)
    raw[at : at + len(noise)] = noise
    check(bytes(raw), "x.jsonl", "auto")


@quick
@given(
    st.lists(
        st.sampled_from(
            [
                "我叫",
                "李晓明",
                "小王",
                "老师",
                "住在",
                "3栋502",
                "138",
                "12345678",
                "@",
                ".com",
                "微信",
                "QQ",
                "北京市",
                "路",
                "88号",
                "my name is ",
                "Sarah ",
                "，",
                "。",
                " ",
                "\n",
            ]
        )
        | texts,
        max_size=20,
    ).map("".join)
)
def test_scrubbing_changes_nothing_outside_its_spans(text: str) -> None:
    clean, spans = Scrubber().text(text)
    position = 0
    for span in spans:
        assert position <= span.start < span.end <= len(text)
        assert text[span.start : span.end] == span.value
        position = span.end
    if not spans:
        assert clean == text
    talk = Dialogue("x", (Message("user", text), Message("assistant", text)))
    Scrubber().dialogue(talk)
