"""Readers: every format, every record counted, hostile files refused or mended, never a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hearmeglm.data.sources import FORMATS, read, survey
from hearmeglm.errors import DataError

RECORDS = {
    "openai": {"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "在的"}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "在的"}]},
    "emollm": {
        "conversation": [{"system": "温暖", "input": "你好", "output": "在的"}, {"input": "嗯", "output": "请说"}]
    },
    "alpaca": {"instruction": "你好", "input": "", "output": "在的", "history": [["早", "早"]]},
    "psydt": {
        "id": 1,
        "normalizedTag": "婚恋",
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
    },
    "esconv": {"dialog": [{"speaker": "seeker", "content": "hi\n"}, {"speaker": "supporter", "content": "hello"}]},
    "smilechat": [{"role": "client", "content": "你好"}, {"role": "counselor", "content": "在的"}],
    "cpsycoune": ["求助者：你好", "支持者：在的"],
}


@pytest.mark.parametrize("name", RECORDS)
def test_each_json_format_is_read_and_recognised(name: str, tmp_path: Path) -> None:
    whole = name in ("smilechat", "cpsycoune")
    file = tmp_path / "x.json"
    file.write_text(json.dumps(RECORDS[name] if whole else [RECORDS[name]] * 3, ensure_ascii=False), encoding="utf-8")
    for format in (name, "auto"):
        reading = survey(file, format)
        assert (reading.format, reading.dialogues, reading.dropped) == (name, 1 if whole else 3, 0)
    dialogue = next(iter(read(file))).dialogue
    assert dialogue is not None
    assert dialogue.messages[-1].role == "assistant"


def test_failed_esconv_says_speaker_and_listener(tmp_path: Path) -> None:
    file = tmp_path / "FailedESConv.json"
    file.write_text(
        json.dumps(
            [
                {
                    "dialog": [
                        {"speaker": "listener", "content": "hey"},
                        {"speaker": "speaker", "content": "sad"},
                        {"speaker": "listener", "content": "why"},
                    ]
                }
            ]
        )
    )
    record = next(iter(read(file)))
    assert [m.role for m in record.dialogue.messages] == ["user", "assistant"]  # type: ignore[union-attr]
    assert "counsellor speaks before the client" in {n.reason for n in record.notes}


def test_system_text_stands_on_the_first_turn_only(tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    file.write_text(json.dumps([RECORDS["emollm"]], ensure_ascii=False))
    dialogue = next(iter(read(file))).dialogue
    assert [m.role for m in dialogue.messages] == ["system", "user", "assistant", "user", "assistant"]  # type: ignore[union-attr]


def test_transcript_traps(tmp_path: Path) -> None:
    text = (
        "来访者：心理咨询师，我睡不着。\r\n\r\n心理咨询师：多久了？\r\n\r\n（沉默片刻）\r\n来访者（姚先生）：三周。\r\n心理咨询师：可以试试：\r\n1. 记录作息\r\n2. 写下担心\r\n"
        "心理咨询师：今晚就开始？\r\n\r\n来访者：好。\r\n妈妈：我也觉得好。\r\n心理咨询师：谢谢。"
    )
    (tmp_path / "case_1.txt").write_bytes(text.encode())
    record = next(iter(read(tmp_path / "case_1.txt")))
    said = [m.content for m in record.dialogue.messages]  # type: ignore[union-attr]
    assert said == [
        "心理咨询师，我睡不着。",
        "多久了？",
        "三周。",
        "可以试试：\n1. 记录作息\n2. 写下担心\n今晚就开始？",
    ]
    reasons = {n.reason for n in record.notes}
    assert {
        "CRLF line ends",
        "stage direction",
        "labelled speaker",
        "numbered continuation",
        "consecutive counsellor turns",
        "third speaker",
        "trailing client turn",
    } <= reasons


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("bom.jsonl", b"\xef\xbb\xbf" + json.dumps(RECORDS["openai"]).encode()),
        ("gbk.json", json.dumps([RECORDS["openai"]], ensure_ascii=False).encode("gb18030")),
        ("gbk.jsonl", json.dumps(RECORDS["openai"], ensure_ascii=False).encode("gb18030") + b"\r\n"),
        ("utf16.json", json.dumps([RECORDS["openai"]], ensure_ascii=False).encode("utf-16")),
        ("lines.json", (json.dumps(RECORDS["openai"]) + "\n").encode() * 2),
        ("document.jsonl", json.dumps([RECORDS["openai"]], indent=1).encode()),
        ("nul.jsonl", json.dumps(RECORDS["openai"]).encode().replace(b"assistant", b"assistant", 1) + b"\x00\n"),
        ("surrogate.jsonl", b'{"messages":[{"role":"user","content":"a\\ud800b"},{"role":"assistant","content":"\\ud83d\\ude00"}]}'),
        ("raw-nul.jsonl", b'{"messages":[{"role":"user","content":"a\x00b"},{"role":"assistant","content":"c"}]}'),
        ("long.jsonl", json.dumps({"messages": [{"role": "user", "content": "长" * 700_000}, {"role": "assistant", "content": "嗯"}]}, ensure_ascii=False).encode()),
    ],
)  # fmt: skip
def test_files_that_people_really_have(name: str, raw: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(raw)
    reading = survey(tmp_path / name)
    assert reading.dialogues >= 1
    assert reading.dropped == 0
    for record in read(tmp_path / name):
        json.dumps(record.dialogue.to_json(), ensure_ascii=False).encode("utf-8")  # type: ignore[union-attr]
    if "gbk" in name:
        assert any("gb18030" in w for w in reading.warnings)


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("empty.jsonl", b"", "empty"),
        ("blank.json", b" \n\n", "empty"),
        ("list.json", b"[]", "empty list"),
        ("cut.json", b'[{"messages": [{"role": "user", "content": "a"}, {"role": "assi', "not JSON"),
        ("deep.json", b"[" * 200_000, "nested too deeply"),
        ("field.jsonl", b'{"foo": 1}', "no such dialogue"),
        ("role.jsonl", b'{"messages": [{"role": "wizard", "content": "a"}]}', "no such dialogue"),
        ("broken.txt", "来访者：你好".encode()[:-1], "UTF-8"),
        ("binary.txt", bytes(range(128, 256)) * 8, "UTF-8"),
        ("notes.txt", "今天天气很好。".encode(), "来访者"),
        ("lonely.jsonl", b'{"messages": [{"role": "user", "content": "a"}]}', "no such dialogue"),
    ],
)
def test_unreadable_files_are_refused_in_one_line(name: str, raw: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=expected) as err:
        survey(tmp_path / name)
    assert "\n" not in str(err.value)


def test_every_record_is_counted(tmp_path: Path) -> None:
    lines = [
        json.dumps(RECORDS["openai"]),
        "{broken",
        '"text"',
        json.dumps({"messages": []}),
        json.dumps(RECORDS["sharegpt"]),
    ]
    (tmp_path / "mixed.jsonl").write_text("\n".join(lines))
    reading = survey(tmp_path / "mixed.jsonl")
    assert (reading.dialogues, reading.dropped) == (2, 3)
    assert reading.format == "openai+sharegpt"


def test_a_broken_file_in_a_folder_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([RECORDS["openai"]]))
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\xfd")
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    reading = survey(tmp_path)
    assert (reading.dialogues, reading.dropped) == (1, 1)
    assert any("not a data file" in w for w in reading.warnings)
    assert any("link to a folder" in w for w in reading.warnings)


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "data.jsonl").symlink_to(tmp_path / "real")
    with pytest.raises(DataError, match="link to a folder"):
        survey(tmp_path / "data.jsonl")
    with pytest.raises(DataError, match="found nothing"):
        survey(tmp_path / "absent")
    with pytest.raises(DataError, match="expected a data format"):
        survey(tmp_path / "real", "nonsense")


def test_real_counts(shared_data: Path) -> None:
    expected = {
        "cpsycound": (3084, 0),
        "cpsycoune": (10, 0),
        "emollm/tiangou.json": (1301, 0),
        "emollm/self_cognition_EmoLLM.json": (85, 0),
        "psysuicide": (1480, 0),
    }
    for path, counts in expected.items():
        reading = survey(shared_data / path)
        assert (reading.dialogues, reading.dropped) == counts, path
    assert survey(shared_data / "cpsycoune").turns == 66


def test_every_format_is_described() -> None:
    assert all(about for about in FORMATS.values())
