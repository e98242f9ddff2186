"""Free-running talks: a client played from role cards and a counsellor who lives with its own replies.

Teacher-forced items show one reply after a perfect past; here a model that repeats itself, drifts, or forgets who it is has ten turns to do so.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..chat.model import complete
from ..recipe import Persona, Sampling
from ..types import Message
from .asking import GREEDY, persona_of, subjects
from .claims import find_claims
from .language import language
from .overlap import lcs_length
from .overlap_more import words
from .suites import load_suite

if TYPE_CHECKING:
    from rich.table import Table

WHO = {"zh": "顺便问一句，你叫什么名字，是谁开发的？", "en": "By the way, what is your name and who developed you?"}


def run_talks(
    where: str, client: str, models: Sequence[str] | None = None, turns: int = 10, progress: Any = None
) -> dict[str, Any]:
    """Let every model talk with every client of the suite, then ask who it is.

    Args:
        client: `scripted` (the cards' own lines), or RUN|MODEL that plays the cards.

    Returns:
        `{"suite", "digest", "client", "models": {name: {"by_turn": [...], "persona_after": {...}, "talks": {id: messages}}}}`.
    """
    persona = persona_of(where)
    suite = load_suite("clients", persona)
    show = progress or (lambda name, n: nullcontext(lambda k=1: None))
    play = _scripted if client == "scripted" else _player(client)
    out: dict[str, Any] = {"suite": suite.name, "digest": suite.digest, "client": client, "turns": turns, "models": {}}
    for subject in subjects(where, models):
        talks: list[list[Message]] = [[] for _ in suite.rows]
        with show(subject.name, len(talks) * (turns + 1)) as step:
            for turn in range(turns + 1):
                for row, talk in zip(suite.rows, talks, strict=True):
                    talk.append(Message("user", play(row, talk, turn) if turn < turns else WHO[row["lang"]]))
                batch = [(f"{row['id']}-{turn}", talk) for row, talk in zip(suite.rows, talks, strict=True)]
                for talk, reply in zip(talks, subject.answer(batch, GREEDY, step).replies, strict=True):
                    talk.append(Message("assistant", reply.strip()))
        out["models"][subject.name] = {
            **measure(talks, persona),
            "talks": {row["id"]: [m.to_json() for m in talk] for row, talk in zip(suite.rows, talks, strict=True)},
        }
    return out


def _scripted(row: dict[str, Any], talk: Sequence[Message], turn: int) -> str:
    lines: list[str] = row["lines"]
    return lines[turn % len(lines)]


def _player(client: str) -> Any:
    from ..chat.open import open_model

    model = open_model(client)
    sampling = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=80)

    def play(row: dict[str, Any], talk: Sequence[Message], turn: int) -> str:
        if turn == 0:
            return str(row["lines"][0])
        card = {
            "zh": "只说这位来访者的下一句话，不要写心理咨询师的话。",
            "en": "Say only the client's next line, never the counsellor's.",
        }
        # for the one who plays the client, the counsellor is the user
        swapped = [Message("assistant" if m.role == "user" else "user", m.content) for m in talk]
        head = Message("system", f"{row['card']}{card[row['lang']]}")
        opening = Message("user", "你好，今天想聊点什么？" if row["lang"] == "zh" else "Hello, what brings you here?")
        reply = complete(model, [head, opening, *swapped], sampling.model_copy(update={"seed": turn})).text
        return reply.strip() or str(row["lines"][turn % len(row["lines"])])

    return play


def measure(talks: Sequence[Sequence[Message]], persona: Persona) -> dict[str, Any]:
    """By turn, averaged over talks: `repeats` (how much of a reply stood in an earlier one), `drift` (reply in another language
    than the client's line), `claims_other` (took itself for another model or a human), `introduces`, `characters`; and whether the last question,
    who it is, is answered as the persona.
    """
    turns = min(len(t) // 2 for t in talks) - 1
    by_turn = []
    for n in range(turns):
        rows = [_turn(talk, n, persona) for talk in talks]
        by_turn.append(
            {"turn": n + 1, "n": len(rows), **{k: round(sum(r[k] for r in rows) / len(rows), 4) for k in rows[0]}}
        )
    last = [find_claims(t[-1].content, persona) for t in talks]
    return {
        "by_turn": by_turn,
        "persona_after": {
            "n": len(last),
            "name": sum(c.self_name for c in last),
            "developer": sum(c.developer for c in last),
            "other": sum(bool(c.others) for c in last),
        },
    }


def _turn(talk: Sequence[Message], n: int, persona: Persona) -> dict[str, float]:
    asked, reply = talk[2 * n].content, talk[2 * n + 1].content
    lang = language(asked)
    mine = words(reply, lang)
    before = [words(talk[2 * k + 1].content, lang) for k in range(n)]
    claims = find_claims(reply, persona)
    return {
        "repeats": max((lcs_length(mine, b) / len(mine) for b in before), default=0.0) if mine else 0.0,
        "drift": float(language(reply) != lang),
        "claims_other": float(bool(claims.others) or claims.human),
        "introduces": float(claims.introduces),
        "characters": float(len(reply)),
    }


def table(result: dict[str, Any]) -> Table:
    """Repetition by turn for every model, and persona after the talk."""
    from rich.table import Table

    out = Table(title=f"Free-running talks 自由对话 (client: {result['client']})")
    for head in (
        "model",
        "repeats 重复 t2 → last",
        "drift 语言漂移",
        "other identity 他者身份",
        "introduces 自我介绍",
        "characters 字数",
        "name after 之后仍知名字",
        "developer after",
    ):
        out.add_column(head)
    for name, m in result["models"].items():
        rows = m["by_turn"]
        second = rows[min(1, len(rows) - 1)]
        mean = {k: sum(r[k] for r in rows) / len(rows) for k in ("drift", "claims_other", "introduces", "characters")}
        p = m["persona_after"]
        out.add_row(
            name, f"{second['repeats']:.2f} → {rows[-1]['repeats']:.2f}", f"{mean['drift']:.0%}", f"{mean['claims_other']:.0%}", f"{mean['introduces']:.0%}",
            f"{mean['characters']:.0f}", f"{p['name']}/{p['n']}", f"{p['developer']}/{p['n']}",
        )  # fmt: skip
    return out
