from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.cells import cell_len

from hearmeglm.chat.model import Chunk
from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.chat.sessions import KeptTalk, SessionStore
from hearmeglm.chat.terminal import TerminalChat
from hearmeglm.cli.screen import Screen
from hearmeglm.cli.talk import _Guarding
from hearmeglm.errors import ModelError
from hearmeglm.recipe import Sampling
from hearmeglm.safety.policy import Policy
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
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == "来访者：a\n\nJerry（AI）：回应a\n\n"


def test_an_unknown_command_is_a_message_and_help_lists_them() -> None:
    out, _ = talk(["/what"], lang="en")
    assert out.startswith("(no command /what")
    assert "回应/what" in out
    for text in ("/help", "/?", "/"):
        assert talk([text], lang="en")[0].startswith("clear or /clear")


def test_a_cry_for_help_that_begins_with_a_slash_is_heard() -> None:
    for text in ("/help me, I took all my pills", "/我不想活了", "/systematic panic since noon"):
        out, chat = talk([text])
        assert [m.content for m in chat.history if m.role == "user"] == [text]
        assert "回应" in out


def test_a_talk_outlives_a_place_that_cannot_be_saved_to_and_a_model_that_breaks(tmp_path: Path) -> None:
    out, chat = talk(["a", "/save ~nobody-of-this-name/x.txt", "/save a\0b", "b"])
    assert out.count("没有保存") == 2
    assert len(chat.history) == 4


def test_quotes_hold_several_lines_and_commands_among_them_are_text() -> None:
    _, chat = talk(['"""', "第一行", "", "stop", "/clear", '"""'])
    assert chat.history[0].content == "第一行\n\nstop\n/clear"


def test_edit_alone_offers_the_last_words_and_takes_the_next_line() -> None:
    _, chat = talk(["a", "b", "/edit"])
    assert chat.draft == "b"
    chat.run(["c"])
    assert [m.content for m in chat.history] == ["a", "回应a", "c", "回应c"]
    assert chat.draft == ""


def test_the_notice_comes_before_the_reply() -> None:
    told = iter(["我是AI", "", "我是AI"])
    out, _ = talk(["a", "b", "c"], notice=lambda _: next(told))
    assert out == "我是AI\n回应a\n回应b\n我是AI\n回应c\n"


def test_a_board_shows_both_replies_as_they_grow() -> None:
    shown: list[list[str]] = []

    @contextmanager
    def board(names: Sequence[str]) -> Iterator[Callable[[Sequence[str]], object]]:
        shown.append(list(names))
        yield lambda texts: shown.append(list(texts))

    _, chat = talk(["/compare", "a"], open_base=lambda: ScriptedModel(["底座"], name="base"), board=board)
    assert shown[0] == ["base", "scripted"]
    assert shown[1] == ["底", ""]
    assert shown[-1] == ["底座", "回应a"]
    assert chat.history[-1].content == "回应a"


def test_a_reply_that_fails_does_not_end_the_talk() -> None:
    def fail(messages: Sequence[Message]) -> str:
        if messages[-1].content == "a":
            raise ModelError("the server cannot be reached")
        return "好"

    out, chat = talk(["a", "b"], ScriptedModel(fail))
    assert out == "the server cannot be reached\n好\n"
    assert [m.content for m in chat.history] == ["a", "b", "好"]


def test_ctrl_c_cuts_the_reply_and_keeps_what_was_said() -> None:
    class Interrupted:
        name = "m"

        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            yield Chunk("我在")
            raise KeyboardInterrupt

    out, chat = talk(["a"], Interrupted())  # type: ignore[arg-type]
    assert out == "我在 …\n"
    assert chat.history[-1].content == "我在"


def test_what_is_kept_follows_retry_edit_and_clear(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "s.db")
    kept = KeptTalk(store, "me")
    _, chat = talk(["a", "b", "/retry", "/edit c"], keeper=kept)
    assert list(kept.messages()) == chat.history
    assert [m.content for m in chat.history] == ["a", "回应a", "c", "回应c"]
    chat.run(["clear"])
    assert kept.messages() == ()
    store.close()


def test_a_folder_that_does_not_exist_is_made_and_one_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    out, _ = talk(["a", f"/save {tmp_path / 'file' / 't.json'}"], lang="en")
    assert "not saved:" in out


def test_two_replies_stand_beside_each_other_by_the_width_of_their_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with Screen("zh").board(["base", "jerry"]) as show:
        show(["短。", "我在这里，慢慢说 🌱 不着急，想到哪里就说到哪里，我会一直听着。"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert {cell_len(line) for line in lines} == {60}
    assert any("短。" in line and "我在这里" in line for line in lines)


def test_the_base_answers_behind_the_guard_too() -> None:
    guarding = _Guarding(ScriptedModel(["我在听。"]), Policy(), "zh", None)  # type: ignore[call-arg]
    base = guarding.beside(ScriptedModel(["你可以试试割腕。打 400-123-4567。"], name="base"))
    out, _ = talk(["/compare", "我想自杀", "今天吃什么"], guarding.model, open_base=lambda: base)  # type: ignore[arg-type]
    assert out.count("[base]") == 2
    assert "12356" in out
    assert "割腕" not in out
    assert "400-123-4567" not in out


def test_clear_ends_what_was_to_be_said_again() -> None:
    out, chat = talk(["a", "/edit", "clear", "b"])
    assert out.endswith("回应b\n")
    assert [m.content for m in chat.history] == ["b", "回应b"]


def test_a_command_or_edit_itself_gives_up_saying_it_again() -> None:
    out, chat = talk(["a", "/edit", "/edit", "b", "/edit", "/help"], lang="en")
    assert out.count("nothing is said again") == 2
    assert "/retry" in out
    assert [m.content for m in chat.history] == ["a", "回应a", "b", "回应b"]


@pytest.mark.parametrize("text", ["stop", "clear", "/retry\n是什么"])
def test_what_stands_in_quotes_is_said_and_not_obeyed(text: str) -> None:
    _, chat = talk(["a", '"""', *text.split("\n"), '"""', "z"])
    assert [m.content for m in chat.history if m.role == "user"] == ["a", text, "z"]


@pytest.mark.parametrize("lines", [['"""', "还没说完"], ["还没说完\\"]])
def test_what_was_begun_is_answered_when_the_input_ends(lines: list[str]) -> None:
    _, chat = talk(lines)
    assert [m.content for m in chat.history] == ["还没说完", "回应还没说完"]


def test_an_answer_again_that_fails_leaves_the_one_before() -> None:
    replies = iter(["好的。"])

    class Once(ScriptedModel):
        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            text = next(replies, None)
            if text is None:
                raise ModelError("the server is away")
            yield Chunk(text)

    out, chat = talk(["a", "/retry"], Once(["x"]))
    assert "the server is away" in out
    assert [m.content for m in chat.history] == ["a", "好的。"]


def test_a_talk_that_cannot_be_kept_goes_on_and_it_is_told() -> None:
    class Full:
        def add(self, message: Message) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        def trim(self, keep: int) -> None: ...

    out, _ = talk(["a"], keeper=Full(), lang="en")
    assert "回应a" in out
    assert "not kept: database or disk is full" in out
