"""The data commands as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hearmeglm.cli import app
from hearmeglm.errors import DataError

RUNNER = CliRunner()


def hearme(*args: str | Path) -> str:
    done = RUNNER.invoke(app, ["data", *map(str, args)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_read_prints_only_json(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}\n{}\n'
    )
    found = json.loads(hearme("read", "auto", tmp_path / "a.jsonl", "--out", tmp_path / "o.jsonl", "--json"))
    assert list(found) == ["format", "dialogues", "dropped", "turns", "warnings"]
    assert (found["format"], found["dialogues"], found["dropped"], found["turns"]) == ("sharegpt", 1, 1, 1)
    assert json.loads((tmp_path / "o.jsonl").read_text())["messages"][1]["content"] == "hello"
    with pytest.raises(DataError):
        hearme("read", "openai", tmp_path / "a.jsonl", "--out", tmp_path / "p.jsonl")
    assert not (tmp_path / "p.jsonl").exists()


def test_scrub(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "打13812345678", "id": 7}\n')
    assert json.loads(hearme("scrub", "--in", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl", "--json"))[
        "spans"
    ] == {"PHONE": 1}
    assert json.loads((tmp_path / "out.jsonl").read_text())["text"] == "打某个号码"
    hearme("scrub", "--in", tmp_path / "in.jsonl", "--out", tmp_path / "none.jsonl", "--types", "name,qq")
    assert "13812345678" in (tmp_path / "none.jsonl").read_text()


def test_audit_and_lists(tmp_path: Path) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "我不想活了"},
            {"role": "assistant", "content": "你是在想自杀吗？请打12356。"},
        ]
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    report = json.loads(hearme("audit", tmp_path / "a.jsonl", "--licence", "CC BY-NC 4.0", "--json"))
    assert report["escalation"]["names_hotline_or_emergency"] == report["escalation"]["asks_directly"] == 1
    assert report["licence"]["commercial"] == "no"
    assert "fewer than 500" in hearme("audit", tmp_path / "a.jsonl", "--out", tmp_path / "page")
    assert (tmp_path / "page/audit.html").is_file()
    assert "cpsycound" in hearme("formats")
    assert "link only" in hearme("fetch")
    assert "Commercially? no" in hearme("licence", "cpsycound", "esconv")
