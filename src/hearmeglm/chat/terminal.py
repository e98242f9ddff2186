"""A talk in the terminal: streamed replies, history, and commands at the start of a line."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..errors import HearmeError, UserError
from ..files import write_json, write_text
from ..recipe import Sampling
from ..types import Message
from .model import ChatModel

HELP = {
    "zh": """clear 或 /clear  清空对话                     stop 或 /stop   结束
/retry           重新回答上一句               /edit [新的话]  改写上一句再回答
/system 文字     设定系统提示（空：去掉）     /save 文件      保存对话（.json 或 .txt）
/region 代码     求助热线的地区（CN、HK、US…）  /compare        与底座模型并排回答（再输一次关闭）
行末加 \\ 换行继续输入；单独一行 \"\"\" 开始和结束多行；回答时按 Ctrl-C 打断""",
    "en": """clear or /clear  forget the talk              stop or /stop   end
/retry           answer again                 /edit [TEXT]    say it differently
/system TEXT     set the system prompt (empty: none)   /save FILE   keep the talk (.json or .txt)
/region CODE     whose hotlines to show (CN, HK, US …)   /compare   the base answers beside (again: off)
end a line with \\ to go on in the next; \"\"\" alone on a line opens and closes several; Ctrl-C cuts a reply short""",
}
QUOTES = '"""'
COMMANDS = ("/retry", "/edit", "/system", "/save", "/region", "/compare")
HELP_WORDS = ("/", "/?", "/h", "/help")
"""Any other line is a message, whatever it begins with: "/help me, I took all my pills" is heard."""


class Keeper(Protocol):
    """Where a talk is kept (`sessions.KeptTalk`)."""

    def add(self, message: Message) -> None: ...

    def trim(self, keep: int) -> None:
        """Forget all but the first `keep` messages."""
        ...


@dataclass
class TerminalChat:
    """One talk.

    Args:
        model: who answers.
        write: prints a piece of text without a newline.
        lang: language of the tool's own words (`zh`, `en`).
        open_base: makes the model to compare with, called when `/compare` is first used.
        set_region: called with a region code; returns what to tell the user.
        notice: called with the message before each reply; what it returns is shown first (the AI notice when its time has come).
        paint: gives the tool's own words their look; plain by default.
        board: shows two replies beside each other: given both names, a context that gives a function of both texts.
            Without one they are printed one after the other.
        keeper: keeps the talk; None: nothing is kept.
    """

    model: ChatModel
    write: Callable[[str], object]
    sampling: Sampling
    system: str = ""
    lang: str = "zh"
    open_base: Callable[[], ChatModel] | None = None
    set_region: Callable[[str], str] | None = None
    notice: Callable[[str], str] = lambda _: ""
    paint: Callable[[str], str] = lambda text: text
    board: Callable[[Sequence[str]], AbstractContextManager[Callable[[Sequence[str]], object]]] | None = None
    keeper: Keeper | None = None
    history: list[Message] = field(default_factory=list)
    draft: str = ""
    """What a line editor should offer as the beginning of the next line (after `/edit` alone)."""
    _editing: bool = False
    _base: ChatModel | None = None
    _comparing: bool = False
    _drawn: int = 0

    def run(self, lines: Iterable[str], prompt: Callable[[], None] = lambda: None) -> None:
        """Talk until `stop` or the end of `lines`. `prompt` is called before each message is awaited."""
        waiting, quoted = "", False
        prompt()
        for line in lines:
            line, self.draft = line.rstrip("\r\n"), ""
            closes = quoted and line.strip() == QUOTES
            if line.strip() == QUOTES:
                quoted = not quoted
                if quoted:
                    continue
                line = ""
            elif quoted or line.endswith("\\"):
                waiting += (line if quoted else line[:-1]) + "\n"
                continue
            text, waiting = (waiting + line).strip(), ""
            if not closes and text.lower() in ("stop", "/stop", "/quit", "/exit"):
                return
            self._hear(text, literal=closes)
            prompt()
        self._hear(waiting.strip(), literal=True)  # the input ended within several lines

    def _hear(self, text: str, *, literal: bool) -> None:
        if not text:
            return
        try:
            self.say(text, literal=literal)
        except HearmeError as err:  # a talk outlives a reply that failed
            self._tell(str(err), str(err))
        except Exception as err:  # as when the device's memory is full
            why = f"{type(err).__name__}: {' '.join(str(err).split())[:160]}"
            self._tell(f"这句没有答成：{why}", f"no reply: {why}")

    def say(self, text: str, *, literal: bool = False) -> None:
        """Obey a command or answer a message; a `literal` text (from several lines) is a message, whatever it says."""
        word, _, rest = text.partition(" ")
        word = word.lower() if word.lower() in COMMANDS else word
        editing, self._editing, self.draft = self._editing, False, ""
        if not literal and (text.lower() == "clear" or word == "/clear"):
            self._forget(0)
            self._tell("（已清空）", "(cleared)")
        elif not literal and (word in COMMANDS or text in HELP_WORDS):
            if editing:
                self._tell("（不改写了）", "(nothing is said again)")
            if not (editing and text == "/edit"):
                self._command(word, rest.strip())
        elif editing:
            self._say_again(text)
        else:
            if not literal and text.startswith("/") and text.isascii() and len(text.split()) == 1:
                self._tell(
                    f"（没有 {text} 这个命令，当作一句话；/help 列出命令）",
                    f"(no command {text}, taken as a message; /help lists them)",
                )
            self._add(Message("user", text))
            self._answer()

    def _command(self, word: str, rest: str) -> None:
        if word in ("/retry", "/edit"):
            self._again(word, rest)
        elif word == "/system":
            self.system = rest
            self._tell(
                "系统提示已设定。" if rest else "系统提示已去掉。",
                "System prompt set." if rest else "System prompt removed.",
            )
        elif word == "/save":
            self._save(rest)
        elif word == "/region" and self.set_region:
            try:
                told = self.set_region(rest)
            except UserError as err:
                told = str(err)
            self._tell(told, told)
        elif word == "/compare" and self.open_base:
            self._base = self._base or self.open_base()
            self._comparing = not self._comparing
            self._tell(
                "并排回答：开" if self._comparing else "并排回答：关",
                "compare: on" if self._comparing else "compare: off",
            )
        elif word == "/compare":
            self._tell("这个模型没有可比较的底座。", "This model has no base to compare with.")
        else:
            self._tell(HELP["zh"], HELP["en"])

    def _again(self, word: str, rest: str) -> None:
        asked = self._asked()
        if asked is None:
            self._tell("还没有可以重答的话。", "There is nothing to answer again yet.")
        elif word == "/edit" and not rest:
            self._editing, self.draft = True, asked.content
            self._tell(f"请改写：{asked.content}", f"say instead of: {asked.content}")
        elif word == "/edit":
            self._say_again(rest)
        else:
            self._say_again(asked.content, redraw=True)

    def _asked(self) -> Message | None:
        return next((m for m in reversed(self.history) if m.role == "user"), None)

    def _say_again(self, text: str, redraw: bool = False) -> None:
        """Take the last exchange back and answer `text` instead."""
        at = max(i for i, m in enumerate(self.history) if m.role == "user")
        before = self.history[at:]
        self._forget(at)
        self._add(Message("user", text))
        try:
            self._answer(redraw)
        except HearmeError:  # what was there is not lost to an answer that failed
            self._forget(at)
            for message in before:
                self._add(message)
            raise

    def _answer(self, redraw: bool = False) -> None:
        told = self.notice(self.history[-1].content)
        if told:
            self._tell(told, told)
        self._drawn = self._drawn + 1 if redraw else 0
        sampling = replace_seed(self.sampling, self.sampling.seed + self._drawn)
        messages = ([Message("system", self.system)] if self.system else []) + self.history
        if self._comparing and self._base:
            reply = self._compare([self._base, self.model], messages, sampling)
        else:
            reply = self._stream(self.model, messages, sampling, self.write)
            self.write("\n")
        if reply:
            self._add(Message("assistant", reply))

    def _compare(self, models: Sequence[ChatModel], messages: list[Message], sampling: Sampling) -> str:
        """Both replies, side by side where a board can show it; returns the last model's."""
        if self.board is None:
            reply = ""
            for model in models:
                self.write(self.paint(f"[{model.name}] "))
                reply = self._stream(model, messages, sampling, self.write)
                self.write("\n")
            return reply
        texts = ["" for _ in models]
        with self.board([m.name for m in models]) as show:
            for i, model in enumerate(models):

                def add(piece: str, i: int = i) -> None:
                    texts[i] += piece
                    show(texts)

                texts[i] = self._stream(model, messages, sampling, add)
        return texts[-1]

    def _stream(
        self, model: ChatModel, messages: list[Message], sampling: Sampling, show: Callable[[str], object]
    ) -> str:
        """Show the reply as it comes; Ctrl-C ends it and keeps what was said."""
        pieces: list[str] = []
        stream = model.stream(messages, sampling)
        try:
            for chunk in stream:
                text = chunk.text if pieces else chunk.text.lstrip()
                if text:
                    pieces.append(text)
                    show(text)
        except KeyboardInterrupt:
            show(" …")
        finally:
            close = getattr(stream, "close", None)
            if close:
                close()
        return "".join(pieces).strip()

    def _add(self, message: Message) -> None:
        self.history.append(message)
        if self.keeper:
            try:
                self.keeper.add(message)
            except (OSError, sqlite3.Error, HearmeError) as err:  # a full disk must not keep the reply from somebody
                self._tell(f"（这句话没有存下：{err}）", f"(not kept: {err})")

    def _forget(self, keep: int) -> None:
        del self.history[keep:]
        if self.keeper:
            try:
                self.keeper.trim(keep)
            except (OSError, sqlite3.Error, HearmeError) as err:
                self._tell(f"（存着的没有删掉：{err}）", f"(what is kept was not deleted: {err})")

    def _save(self, name: str) -> None:
        if not name:
            self._tell("用法：/save 文件名", "usage: /save FILE")
            return
        path = Path(name)
        who = {"user": "来访者：", "assistant": "Jerry（AI）："}
        if self.lang == "en":
            who = {"user": "Client: ", "assistant": "Jerry (AI): "}
        try:
            path = path.expanduser()
            if path.suffix == ".json":
                talk = [m.to_json() for m in self.history]
                write_json(path, {"model": self.model.name, "system": self.system, "messages": talk})
            else:
                write_text(path, "".join(f"{who[m.role]}{m.content}\n\n" for m in self.history))
        except (OSError, RuntimeError, ValueError) as err:  # no such home, a zero byte in the name
            why = getattr(err, "strerror", None) or str(err)
            self._tell(f"没有保存：{why}（{path}）", f"not saved: {why} ({path})")
            return
        self._tell(f"已保存到 {path}", f"saved to {path}")

    def _tell(self, zh: str, en: str) -> None:
        self.write(self.paint(zh if self.lang == "zh" else en) + "\n")


def replace_seed(sampling: Sampling, seed: int) -> Sampling:
    """The same sampling with another seed (a greedy retry gets a little temperature, or it would repeat itself)."""
    if seed != sampling.seed and sampling.temperature == 0:
        return sampling.model_copy(update={"seed": seed, "temperature": 0.7, "top_p": 0.9})
    return sampling.model_copy(update={"seed": seed})
