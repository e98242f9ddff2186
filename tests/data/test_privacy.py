"""Scrubbing: our own 243 sentences, half of them traps; offsets, untouched surroundings, nothing survives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hearmeglm.data.privacy import TYPES, Scrubber
from hearmeglm.data.privacy.checksums import hkid_checksum, id_checksum, luhn, twid_checksum
from hearmeglm.data.scrubbing import scrub_file, scrub_record
from hearmeglm.errors import DataError
from hearmeglm.files import read_jsonl, write_jsonl
from hearmeglm.types import Dialogue, Message

HERE = Path(__file__).parent
SCRUBBER = Scrubber()
POSITIVE = [
    line.split("\t")
    for name in ("privacy_positive.tsv", "privacy_positive_fresh.tsv")
    for line in (HERE / name).read_text(encoding="utf-8").splitlines()
]
TRAPS = [
    line
    for name in ("privacy_traps.txt", "privacy_traps_fresh.txt")
    for line in (HERE / name).read_text(encoding="utf-8").splitlines()
]


def survives(value: str, clean: str) -> bool:
    """Two Han characters in a row, or four letters or digits in a row, of a value are still there."""
    pieces = [
        value[i : i + 2] for i in range(len(value) - 1) if all("\u4e00" <= c <= "\u9fff" for c in value[i : i + 2])
    ]
    pieces += [
        value[i : i + 4] for i in range(len(value) - 3) if value[i : i + 4].isalnum() and value[i : i + 4].isascii()
    ]
    return value in clean or any(piece in clean for piece in pieces)


def test_recall_and_precision() -> None:
    found = missed = 0
    for text, gold in POSITIVE:
        clean, _ = SCRUBBER.text(text)
        rest = text
        values = [item.split("=", 1)[1] for item in gold.split(";")]
        for value in values:
            rest = rest.replace(value, "")
        for value in values:
            gone = not survives(value, clean) or survives(
                value, rest
            )  # a piece that also stands outside the value may stay
            found, missed = found + gone, missed + (not gone)
    touched = [t for t in TRAPS if SCRUBBER.find(t)]
    assert found / (found + missed) >= 0.97, f"{missed} of {found + missed} values survive"
    assert len(touched) / len(TRAPS) <= 0.03, touched
    assert len(POSITIVE) + len(TRAPS) >= 200


@pytest.mark.parametrize("text", [t for t, _ in POSITIVE[::7]] + TRAPS[::9])
def test_outside_the_spans_nothing_changes(text: str) -> None:
    clean, spans = SCRUBBER.text(text)
    position, parts = 0, []
    for span in spans:
        assert span.type in TYPES
        assert text[span.start : span.end] == span.value
        assert span.start >= position
        parts.append(re.escape(text[position : span.start]))
        position = span.end
    pattern = ".{1,24}".join([*parts, re.escape(text[position:])])
    assert re.fullmatch(pattern, clean, re.DOTALL)


def test_types_can_be_chosen() -> None:
    clean, spans = Scrubber(("PHONE",)).text("我叫李晓明，电话13812345678")
    assert clean == "我叫李晓明，电话某个号码"
    assert [s.type for s in spans] == ["PHONE"]
    with pytest.raises(DataError, match="expected types"):
        Scrubber(("COLOUR",))


def test_names_of_one_turn_go_from_all_turns_and_are_no_address() -> None:
    talk = Dialogue(
        "1",
        (
            Message("user", "我叫周子轩，很累"),
            Message("assistant", "你好，子轩。多久了？"),
            Message("user", "周子轩不想说"),
            Message("assistant", "好的。"),
        ),
    )
    out, spans = SCRUBBER.dialogue(talk)
    assert [m.content for m in out.messages] == ["我叫某某，很累", "你好。多久了？", "某某不想说", "好的。"]
    assert len(spans) == 3
    plain = Dialogue("2", (Message("user", "我睡不着"), Message("assistant", "多久了？")))
    assert SCRUBBER.dialogue(plain)[0] is plain


def test_checksums() -> None:
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")
    assert id_checksum("11010519491231002X")
    assert not id_checksum("110105194912310021")
    assert hkid_checksum("A1234563")
    assert twid_checksum("A123456789")


def test_files_and_dialogues(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "in.jsonl",
        [
            {"id": 1, "text": "打13812345678"},
            {"messages": [{"role": "user", "content": "我叫李晓明"}], "meta": "李晓明"},
        ],
    )
    done = scrub_file(tmp_path / "in.jsonl", tmp_path / "out.jsonl", SCRUBBER)
    rows = [row for _, row in read_jsonl(tmp_path / "out.jsonl")]
    assert done.lines == 2
    assert rows[0] == {
        "id": 1,
        "text": "打某个号码",
        "spans": [{"type": "PHONE", "value": "13812345678", "start": 1, "end": 12}],
    }
    assert rows[1]["messages"] == [{"role": "user", "content": "我叫某某"}]
    assert rows[1]["spans"][0]["in"] == "messages[0].content"
    with pytest.raises(DataError, match="expected the field `text`"):
        scrub_record({"foo": 1}, SCRUBBER)
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{broken\n')
    with pytest.raises(DataError, match="2"):
        scrub_file(tmp_path / "bad.jsonl", tmp_path / "bad-out.jsonl", SCRUBBER)
    assert not (tmp_path / "bad-out.jsonl").exists()
