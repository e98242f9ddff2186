"""A talk in the terminal: streamed replies, history, and commands at the start of a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..files import write_json, write_text
from ..recipe import Sampling
from ..types import Message
from .model import ChatModel

HELP = {
    "zh": """clear 或 /clear  清空对话      stop 或 /stop   结束
/retry           重新回答上一句      /edit 新的话    改写上一句再回答
/system 文字     设定系统提示（空：去掉）    /save 文件      保存对话（.json 或 .txt）
/region 代码     选择求助热线的地区（如 CN、HK、US）  /compare        与底座模型并排回答（再输一次关闭）
行末加 \\ 可换行继续输入""",
    "en": """clear or /clear  forget the talk     stop or /stop   end
/retry           answer again        /edit TEXT      say it differently
/system TEXT     set the system prompt (empty: none)   /save FILE      keep the talk (.json or .txt)
/region CODE     whose hotlines to show (CN, HK, US …)  /compare        the base answers beside (again: off)
end a line with \\ to go on in the next""",
}


@dataclass
class TerminalChat:
    """One talk.

    Args:
        model: who answers.
        write: prints a piece of text without a newline.
        lang: language of the tool's own words (`zh`, `en`).
        open_base: makes the model to compare with, called when `/compare` is first used.
        set_region: called with a region code; returns what to tell the user.
    """

    model: ChatModel
    write: Callable[[str], object]
    sampling: Sampling
    system: str = ""
    lang: str = "zh"
    open_base: Callable[[], ChatModel] | None = None
    set_region: Callable[[str], str] | None = None
    history: list[Message] = field(default_factory=list)
    _base: ChatModel | None = None
    _comparing: bool = False
    _drawn: int = 0

    def run(self, lines: Iterable[str], prompt: Callable[[], None] = lambda: None) -> None:
        """Talk until `stop` or the end of `lines`. `prompt` is called before each line is awaited."""
        waiting = ""
        prompt()
        for line in lines:
            line = line.rstrip("\r\n")
            if line.endswith("\\"):
                waiting += line[:-1] + "\n"
                continue
            text, waiting = (waiting + line).strip(), ""
            if text.lower() in ("stop", "/stop", "/quit", "/exit"):
                return
            if text:
                self.say(text)
            prompt()

    def say(self, text: str) -> None:
        """Obey a command or answer a message."""
        word, _, rest = text.partition(" ")
        if text.lower() == "clear" or word == "/clear":
            self.history.clear()
            self._line("（已清空）", "(cleared)")
        elif word.startswith("/"):
            self._command(word, rest.strip())
        else:
            self.history.append(Message("user", text))
            self._answer()

    def _command(self, word: str, rest: str) -> None:
        if word in ("/retry", "/edit"):
            while self.history and self.history[-1].role == "assistant":
                self.history.pop()
            if not self.history:
                self._line("还没有可以重答的话。", "There is nothing to answer again yet.")
                return
            if word == "/edit" and rest:
                self.history[-1] = Message("user", rest)
            self._answer(redraw=word == "/retry")
        elif word == "/system":
            self.system = rest
            self._line(
                "系统提示已设定。" if rest else "系统提示已去掉。",
                "System prompt set." if rest else "System prompt removed.",
            )
        elif word == "/save":
            self._save(rest)
        elif word == "/region" and self.set_region:
            try:
                self.write(self.set_region(rest) + "\n")
            except UserError as err:
                self.write(f"{err}\n")
        elif word == "/compare" and self.open_base:
            self._base = self._base or self.open_base()
            self._comparing = not self._comparing
            self._line(
                "并排回答：开" if self._comparing else "并排回答：关",
                "compare: on" if self._comparing else "compare: off",
            )
        else:
            self.write(HELP[self.lang] + "\n")

    def _answer(self, redraw: bool = False) -> None:
        self._drawn = self._drawn + 1 if redraw else 0
        sampling = replace_seed(self.sampling, self.sampling.seed + self._drawn)
        messages = ([Message("system", self.system)] if self.system else []) + self.history
        if self._comparing and self._base:
            self.write(f"[{self._base.name}] ")
            self._stream(self._base, messages, sampling)
            self.write(f"[{self.model.name}] ")
        reply = self._stream(self.model, messages, sampling)
        self.history.append(Message("assistant", reply))

    def _stream(self, model: ChatModel, messages: list[Message], sampling: Sampling) -> str:
        """Print the reply as it comes; Ctrl-C ends it and keeps what was said."""
        pieces: list[str] = []
        stream = model.stream(messages, sampling)
        try:
            for chunk in stream:
                text = chunk.text if pieces else chunk.text.lstrip()
                if text:
                    pieces.append(text)
                    self.write(text)
        except KeyboardInterrupt:
            self.write(" …")
        finally:
            close = getattr(stream, "close", None)
            if close:
                close()
        self.write("\n")
        return "".join(pieces).strip()

    def _save(self, name: str) -> None:
        if not name:
            self._line("用法：/save 文件名", "usage: /save FILE")
            return
        path = Path(name).expanduser()
        if path.suffix == ".json":
            write_json(
                path, {"model": self.model.name, "system": self.system, "messages": [m.to_json() for m in self.history]}
            )
        else:
            who = (
                {"user": "来访者", "assistant": "心理咨询师"}
                if self.lang == "zh"
                else {"user": "Client", "assistant": "Counsellor"}
            )
            write_text(path, "".join(f"{who[m.role]}：{m.content}\n\n" for m in self.history))
        self._line(f"已保存到 {path}", f"saved to {path}")

    def _line(self, zh: str, en: str) -> None:
        self.write((zh if self.lang == "zh" else en) + "\n")


def replace_seed(sampling: Sampling, seed: int) -> Sampling:
    """The same sampling with another seed (a greedy retry gets a little temperature, or it would repeat itself)."""
    if seed != sampling.seed and sampling.temperature == 0:
        return sampling.model_copy(update={"seed": seed, "temperature": 0.7, "top_p": 0.9})
    return sampling.model_copy(update={"seed": seed})
