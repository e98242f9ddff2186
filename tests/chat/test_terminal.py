from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.chat.terminal import TerminalChat
from hearmeglm.recipe import Sampling
from hearmeglm.types import Message


def talk(lines: list[str], model: ScriptedModel | None = None, **options: object) -> tuple[str, TerminalChat]:
    written: list[str] = []
    chat = TerminalChat(model or ScriptedModel(lambda m: f"回应{m[-1].content}"), written.append, Sampling(), **options)  # type: ignore[arg-type, call-arg]
    chat.run(lines)
    return "".join(written), chat


def test_a_talk_streams_and_remembers_until_clear() -> None:
    out, chat = talk(["你好", "hi", "clear", "再来"])
    assert out == "回应你好\n回应hi\n（已清空）\n回应再来\n"
    assert [m.content for m in chat.history] == ["再来", "回应再来"]


def test_stop_ends_it() -> None:
    out, _ = talk(["a", "stop", "b"])
    assert out == "回应a\n"


def test_a_backslash_goes_on_in_the_next_line() -> None:
    _, chat = talk(["第一行\\", "第二行"])
    assert chat.history[0].content == "第一行\n第二行"


def test_retry_answers_again_and_edit_says_it_differently() -> None:
    _, chat = talk(["a", "/retry"], ScriptedModel(["一", "二"]))
    assert [m.content for m in chat.history] == ["a", "二"]
    _, chat = talk(["a", "/edit b"])
    assert [m.content for m in chat.history] == ["b", "回应b"]
    out, _ = talk(["/retry"], lang="en")
    assert out == "There is nothing to answer again yet.\n"


def test_the_system_prompt_reaches_the_model() -> None:
    def who(messages: Sequence[Message]) -> str:
        return messages[0].role

    out, _ = talk(["x", "/system 你是医生", "x", "/system", "x"], ScriptedModel(who))
    assert out == "user\n系统提示已设定。\nsystem\n系统提示已去掉。\nuser\n"


def test_compare_shows_the_base_beside(tmp_path: Path) -> None:
    out, chat = talk(["/compare", "a"], open_base=lambda: ScriptedModel(["底座"], name="base"))
    assert out == "并排回答：开\n[base] 底座\n[scripted] 回应a\n"
    assert [m.content for m in chat.history] == ["a", "回应a"]


def test_save_keeps_the_talk(tmp_path: Path) -> None:
    talk(["a", f"/save {tmp_path / 't.json'}", f"/save {tmp_path / 't.txt'}"])
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["messages"][1]["content"] == "回应a"
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == "来访者：a\n\n心理咨询师：回应a\n\n"


def test_an_unknown_command_shows_the_help() -> None:
    out, _ = talk(["/what"], lang="en")
    assert out.startswith("clear or /clear")
