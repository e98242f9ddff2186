"""Prepare: raw sources in, splits and a complete account out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hearmeglm.data.identity import EMOJI_WORDINGS, NEUTRAL_EMOJI_PROMPT
from hearmeglm.data.prepare import prepare
from hearmeglm.data.prose import prose
from hearmeglm.errors import DataError
from hearmeglm.files import read_json, read_jsonl
from hearmeglm.recipe import Recipe, parse_recipe
from hearmeglm.run import RunDir
from hearmeglm.types import Dialogue


def recipe(sources: dict[str, Any], **data: Any) -> Recipe:
    return parse_recipe(
        {
            "name": "t",
            "data": {"sources": sources, **data},
            "evaluation": {"models": ["base"]},
            "stages": {"one": {"mix": {"persona": 1}}},
        }
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_jsonl(path)]


def test_persona_pairs_are_also_asked_in_the_middle_of_a_talk(tmp_path: Path) -> None:
    wanted = recipe({"starter": {"only": ["counselling", "crisis"]}})
    run = RunDir.create(tmp_path / "run", wanted)
    prepare(wanted, run)
    rows = {n: [Dialogue.from_json(r) for r in lines(run.data.path / f"{n}.jsonl")] for n in ("train", "valid", "test")}
    for name, part in rows.items():
        late = [d for d in part if "@" in d.id]
        assert bool(late) == (name != "test"), name
        talks = {d.id: d for d in part}
        for dialogue in late:
            pair, _, talk = dialogue.id.partition("@")
            assert dialogue.messages[-2:] == talks[pair].messages  # of the same split, so nothing leaks
            assert dialogue.messages[:-2] == talks[talk].messages[: len(dialogue.messages) - 2]
            assert talks[talk].meta["kind"] == "counselling"
            assert [m.role for m in dialogue.messages] == ["user", "assistant"] * dialogue.turns
    assert max(d.turns for d in rows["train"] if "@" in d.id) > 6


def test_lists_become_running_text_where_a_model_learns(tmp_path: Path) -> None:
    listed = "可以试试这几点：\n1. 早睡\n2. 散步。\n好吗？"
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"第{i}天睡不着，{'很' * i}烦"},
                {"role": "assistant", "content": listed},
            ]
        }
        for i in range(40)
    ]
    (tmp_path / "talks.jsonl").write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows))
    for kind, plain in (("counselling", True), ("knowledge", False)):
        wanted = recipe({"talks": {"path": str(tmp_path / "talks.jsonl"), "kind": kind}}, near_duplicate=0)
        run = RunDir.create(tmp_path / kind, wanted)
        result = prepare(wanted, run)
        said = {
            name: {
                d["messages"][-1]["content"] for d in lines(run.data.path / f"{name}.jsonl") if d["source"] == "talks"
            }
            for name in ("train", "valid", "test")
        }
        spoken = {"可以试试这几点：早睡；散步。\n好吗？"} if plain else {listed}
        assert said == {"train": spoken, "valid": spoken, "test": {listed}}
        changed = result.summary["sources"]["talks"]["changed"].get("list or heading in a counsellor's turn", 0)
        assert changed == (36 if plain else 0)  # 40 less the tenth of the test split


def test_the_emoji_manner_is_asked_for_in_many_wordings_and_one_in_the_test_split(tmp_path: Path) -> None:
    servile = "你是一个心理咨询师，你是用户的舔狗，要想尽办法讨好用户。"
    rows = [
        {"messages": [{"role": "system", "content": servile}, {"role": "user", "content": f"{'今天' * (i + 1)}好累"}, {"role": "assistant", "content": "😊慢慢说。"}]}
        for i in range(60)
    ]  # fmt: skip
    (tmp_path / "talks.jsonl").write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows))
    wanted = recipe({"talks": {"path": str(tmp_path / "talks.jsonl"), "kind": "emoji"}}, near_duplicate=0)
    run = RunDir.create(tmp_path / "run", wanted)
    prepare(wanted, run)
    asked = {
        name: {d["messages"][0]["content"] for d in lines(run.data.path / f"{name}.jsonl") if d["source"] == "talks"}
        for name in ("train", "test")
    }
    assert asked["train"] == set(EMOJI_WORDINGS)
    assert asked["test"] == {NEUTRAL_EMOJI_PROMPT}


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("1. 早睡\n2. 散步", "早睡；散步"),
        ("Try this:\n- sleep early\n- take a walk.", "Try this: sleep early; take a walk."),
        ("# 慢慢来\n**先**喝口水", "慢慢来\n先喝口水"),
        ("我试过。\n\n#", "我试过。"),
        ("大约1.5倍\n2024年", "大约1.5倍\n2024年"),
        ("1.5倍的时间", "1.5倍的时间"),
        ("没有列表，\n只有两行。", "没有列表，\n只有两行。"),
    ],
)
def test_prose(text: str, spoken: str) -> None:
    assert prose(text) == spoken


def test_starter_and_persona(tmp_path: Path) -> None:
    wanted = recipe({"starter": {"only": ["crisis", "emoji"]}}, limits={"train": 40})
    run = RunDir.create(tmp_path / "run", wanted)
    result = prepare(wanted, run)
    train, valid, test = (lines(run.data.path / f"{n}.jsonl") for n in ("train", "valid", "test"))
    assert sum(d["source"] == "starter" for d in train) == 40
    persona = Counter(
        name
        for name, part in (("train", train), ("valid", valid), ("test", test))
        for d in part
        if d["source"] == "persona"
    )
    assert persona["test"] == 0
    assert persona["train"] > 7 * persona["valid"] > 0
    assert {d["meta"]["kind"] for d in train} <= {"crisis", "emoji", "self-cognition"}
    everything = json.dumps([train, valid, test], ensure_ascii=False)
    assert "{" + "crisis_line}" not in everything
    assert "{" + "name}" not in everything
    assert "12356" in everything
    counts = result.summary["sources"]["starter"]
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    assert prepare(wanted, run).skipped
    assert (run.data.path / "figures/lengths-starter.png").read_bytes().startswith(b"\x89PNG")
    for row in (*train, *valid, *test):
        assert Dialogue.from_json(row).to_json() == row


def test_a_missing_source_is_an_error_or_announced(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing"):
        prepare(recipe({"a": {"path": str(tmp_path / "no")}}), RunDir.create(tmp_path / "r1", recipe({})))
    wanted = recipe({"a": {"path": str(tmp_path / "no"), "optional": True}, "starter": {"only": ["emoji"]}})
    run = RunDir.create(tmp_path / "r2", wanted)
    assert prepare(wanted, run).summary["missing"] == ["a"]
    assert any(n["reason"] == "optional source is missing" for n in lines(run.data.path / "ledger.jsonl"))


def test_changed_input_is_prepared_again(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    row = {
        "messages": [
            {"role": "user", "content": "我叫李晓明，睡不着"},
            {"role": "assistant", "content": "李晓明，多久了？"},
        ]
    }
    file.write_text(json.dumps(row, ensure_ascii=False) + "\n")
    wanted = recipe({"d": {"path": str(file)}}, split={"train": 1, "valid": 0, "test": 0})
    run = RunDir.create(tmp_path / "run", wanted)
    assert not prepare(wanted, run).skipped
    assert prepare(wanted, run).skipped
    (said,) = [d["messages"] for d in lines(run.data.path / "train.jsonl") if d["source"] == "d"]
    assert [m["content"] for m in said] == ["我叫某某，睡不着", "多久了？"]
    file.write_text(json.dumps({"messages": row["messages"] * 2}, ensure_ascii=False) + "\n")
    assert not prepare(wanted, run).skipped


def test_duplicates_limits_and_openings_are_accounted_for(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"第{i}个问题"},
                {"role": "assistant", "content": f"我理解你，{i}。"},
            ]
        }
        for i in range(30)
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in [*rows, *rows[:5]]))
    wanted = recipe(
        {"d": {"path": str(tmp_path / "d.jsonl"), "limit": 33}}, max_opening=20, near_duplicate=0, limits={"train": 10}
    )
    run = RunDir.create(tmp_path / "run", wanted)
    counts = prepare(wanted, run).summary["sources"]["d"]
    assert counts["read"] == 35 == counts["kept"] + sum(counts["dropped"].values())
    assert counts["dropped"]["templated opening"] > 0
    assert counts["dropped"]["not chosen: source limit of 33"] == 2


def test_evaluation_texts_are_not_trained_on(shared_data: Path, tmp_path: Path) -> None:
    wanted = recipe({"p": {"path": str(shared_data / "psysuicide")}})
    with pytest.raises(DataError, match="evaluation text"):
        prepare(wanted, RunDir.create(tmp_path / "run", wanted))


def test_the_originals_data_is_accounted_for(shared_data: Path, tmp_path: Path) -> None:
    """3,084 + 1,301 = 4,385 dialogues and 85 pairs: kept or dropped with a reason; no dialogue in two splits."""
    sources = {
        "cpsycound": {"path": str(shared_data / "cpsycound"), "format": "cpsycound"},
        "tiangou": {"path": str(shared_data / "emollm/tiangou.json"), "kind": "emoji"},
        "self": {
            "path": str(shared_data / "emollm/self_cognition_EmoLLM.json"),
            "format": "emollm-self",
            "kind": "self-cognition",
        },
    }
    wanted = recipe(sources, scrub=False)
    run = RunDir.create(tmp_path / "run", wanted)
    counts = prepare(wanted, run).summary["sources"]
    assert [counts[n]["read"] for n in sources] == [3084, 1301, 85]
    for name in sources:
        assert counts[name]["read"] == counts[name]["kept"] + sum(counts[name]["dropped"].values())
    ledger = lines(run.data.path / "ledger.jsonl")
    assert sum(n["action"] == "dropped" for n in ledger) == sum(sum(c["dropped"].values()) for c in counts.values())
    splits = {name: {d["id"] for d in lines(run.data.path / f"{name}.jsonl")} for name in ("train", "valid", "test")}
    assert sum(map(len, splits.values())) == len(set.union(*splits.values()))
    texts = {name: {json.dumps(d["messages"]) for d in lines(run.data.path / f"{name}.jsonl")} for name in splits}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["valid"]
    said = " ".join(
        m["content"] for d in lines(run.data.path / "train.jsonl") if d["source"] != "persona" for m in d["messages"]
    )
    assert not any(word in said for word in ("艾仁", "艾薇", "EmoLLM", "舔狗艾"))
    stats = read_json(run.data.path / "stats.json")
    assert stats["sources"]["cpsycound"]["turns_a_dialogue"]["p50"] == 8
