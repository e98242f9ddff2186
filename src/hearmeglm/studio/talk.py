"""A talk in the Chat tab: its turns with up to two replies each, and the one history that both models are asked with."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..files import cache_dir, write_json
from ..models.reference import SHIPPED
from ..run import RunDir
from ..types import Message
from .words import Words


@dataclass
class Turn:
    """One message of the client and what was answered.

    Attributes:
        said: the client's message.
        replies: by model, in the order of `refs`.
        refs: the models asked.
        order: which model's reply stands left and right (shuffled when blind).
        drawn: how often it has been asked again.
        vote: `a`, `b`, `tie` or `bad` by what stood left (a) and right (b); empty before a vote.
    """

    said: str
    replies: list[str]
    refs: list[str]
    order: list[int]
    drawn: int = 0
    blind: bool = False
    vote: str = ""

    def at(self, side: int) -> str:
        """The reply on the left (0) or right (1)."""
        return self.replies[self.order[side] if len(self.refs) > 1 else 0]

    def kept(self) -> str:
        """The reply that the talk goes on from: the one chosen, else the last model's (the tuned one)."""
        if self.vote in ("a", "b"):
            return self.at("ab".index(self.vote))
        return self.replies[len(self.refs) - 1]


@dataclass(eq=False)
class Talk:
    """Turns in order. Each change makes a new one, compared by identity, as the page's state wants it."""

    turns: list[Turn] = field(default_factory=list)
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def settled(self) -> Talk:
        """The talk before a new message: turns without any reply (an error, a stop) are taken back."""
        return replace(self, turns=[t for t in self.turns if any(t.replies)])

    def history(self) -> list[Message]:
        """What both models are asked with."""
        return [m for t in self.turns for m in (Message("user", t.said), Message("assistant", t.kept() or "…"))]

    def shown(self) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """Messages for the two columns, in which no mark-up of a model or client takes effect."""
        return self._column(0), self._column(1)

    def _column(self, side: int) -> list[dict[str, str]]:
        out = []
        for t in self.turns:
            out.append({"role": "user", "content": _literal(t.said)})
            if said := t.at(side):
                out.append({"role": "assistant", "content": _literal(said)})
        return out


def _literal(text: str) -> str:
    """Text that a Chatbot shows as it is: without Markdown it still takes HTML, a picture from anywhere included.

    Only what would be read as a tag or a character's name is changed, so that copied text is nearly always the one that was said.
    """
    return re.sub(r"<(?=[a-zA-Z/!?])", "&lt;", re.sub(r"&(?=#?\w+;)", "&amp;", text))


def choices(run: RunDir | None, words: Words) -> list[tuple[str, str]]:
    """(label, RUN|MODEL) of what can be talked to: the run's base first, its last trained stage last."""
    shipped = [(p.name, p.name) for p in sorted(SHIPPED.glob("*")) if (p / "adapter_config.json").is_file()]
    if run is None:
        return [(words("chat.starter"), "starter"), *shipped]
    name = run.path.name
    out = [(f"{name} · {words('chat.base')}", f"{run.path}:base"), *shipped]
    out += [(f"{name} · {p.name}", str(p)) for p in sorted((run.path / "export").rglob("*.gguf"))]
    out += [(f"{name} · {s}", f"{run.path}:{s}") for s in run.recipe.stages if run.step(s).manifest_path.is_file()]
    return out


def opponents(run: RunDir | None, words: Words, left: str | None = None, right: str | None = None) -> tuple[str, str]:
    """The models left and right; where none is chosen (a page that is still filling in has none yet), base and tuned stage."""
    found = choices(run, words)
    return left or found[0][1], right or found[-1][1]


def export_text(talk: Talk, system: str, words: Words) -> str:
    """Write the talk as JSON (OpenAI messages, with both replies of each turn) to a file for download; returns its path."""
    path: Path = cache_dir() / "talks" / f"talk-{talk.id}.json"
    messages = [*([Message("system", system.strip())] if (system or "").strip() else []), *talk.history()]
    turns = [
        {"said": t.said, "replies": dict(zip([Path(r).name for r in t.refs], t.replies, strict=False)), "vote": t.vote}
        for t in talk.turns
    ]
    write_json(path, {"note": words("footer"), "messages": [m.to_json() for m in messages], "turns": turns})
    return str(path)
