"""The original's five episodes, in our own words and with its sampling, every model side by side: a suite that reads like a talk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..recipe import Sampling
from ..types import Message
from .asking import Subject, persona_of, subjects
from .suites import load_suite

if TYPE_CHECKING:
    from rich.table import Table


def run_episodes(
    where: str, models: Sequence[str] | None = None, progress: Any = None, seed: int = 0
) -> dict[str, Any]:
    """Each model talks each episode through: its own replies are the history of the next turn.

    Returns:
        `{"suite", "digest", "seed", "episodes": [{"id", "title", "sampling", "system", "talks": {model: [messages]}}]}`.
    """
    suite = load_suite("episodes", persona_of(where))
    show = progress or (lambda name, n: nullcontext(lambda k=1: None))
    episodes: list[dict[str, Any]] = [
        {"id": r["id"], "title": r["title"], "sampling": r["sampling"], "system": r.get("system"), "talks": {}}
        for r in suite.rows
    ]
    for subject in subjects(where, models):
        with show(subject.name, sum(len(r["turns"]) for r in suite.rows)) as step:
            for row, episode in zip(suite.rows, episodes, strict=True):
                talk = _talk(subject, row, Sampling(**row["sampling"], seed=seed), step)
                episode["talks"][subject.name] = [m.to_json() for m in talk]
    return {"suite": suite.name, "digest": suite.digest, "seed": seed, "episodes": episodes}


def _talk(subject: Subject, row: dict[str, Any], sampling: Sampling, step: Any) -> list[Message]:
    head = [Message("system", row["system"])] if row.get("system") else []
    talk: list[Message] = []
    for turn, line in enumerate(row["turns"]):
        talk.append(Message("user", line))
        asked = subject.answer([(f"{row['id']}-{turn}", [*head, *talk])], sampling, step)
        talk.append(Message("assistant", asked.replies[0].strip()))
    return talk


def tables(result: dict[str, Any]) -> list[Table]:
    """A table an episode: the client's line, then each model's reply."""
    from rich.table import Table
    from rich.text import Text

    out = []
    for e in result["episodes"]:
        table = Table(title=e["title"], show_lines=True)
        table.add_column("来访者 client", ratio=1)
        for name in e["talks"]:
            table.add_column(name, ratio=2)
        talks = list(e["talks"].values())
        for i in range(0, len(talks[0]), 2):
            table.add_row(Text(talks[0][i]["content"]), *(Text(t[i + 1]["content"][:600]) for t in talks))
        out.append(table)
    return out
