"""What a reader yields: one Record for each record of a file, with Notes about everything that was changed or refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..types import Dialogue, Message, Role

Action = Literal["read", "merged", "cut", "removed", "replaced", "dropped", "skipped"]
"""What happened: `dropped` loses the record, `skipped` a thing that is no record, `read` warns; the others change text."""


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the ledger.

    Attributes:
        file: the file it is about.
        place: row, line or turn in it (empty: the whole file).
        reason: a short stable sentence, the same for every case of its kind, so that it can be counted.
        action: what was done.
        detail: what was found, shortened.
        source: name of the source in the recipe (set by `prepare`).
    """

    file: str
    place: str
    reason: str
    action: Action
    detail: str = ""
    source: str = ""

    def to_json(self) -> dict[str, str]:
        out = {"file": self.file, "place": self.place, "reason": self.reason, "action": self.action}
        if self.source:
            out = {"source": self.source, **out}
        if self.detail:
            out["detail"] = self.detail
        return out

    def __str__(self) -> str:
        where = f"{self.file}:{self.place}" if self.place else self.file
        return f"{where}: {self.reason} ({self.action})" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file: a dialogue, or None with the note that says why it was dropped."""

    dialogue: Dialogue | None
    notes: tuple[Note, ...] = ()
    file: str = ""
    place: str = ""


@dataclass(slots=True)
class Draft:
    """A dialogue as a format reader finds it, before its shape is put right.

    Attributes:
        turns: (role, text) in order; a role may repeat, a text may be empty.
        meta: strings that travel along (topic, id of its own under `id` …).
        notes: (reason, action, detail) of what the reader changed.
    """

    turns: list[tuple[Role, str]]
    meta: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, Action, str]] = field(default_factory=list)


def shorten(text: str, limit: int = 80) -> str:
    """`text` on one line, at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def build(draft: Draft, *, id: str, source: str, file: str, place: str, trainable: bool = True) -> Record:
    """Put a draft into the shape that every dialogue has: [system,] user, assistant, user, … assistant.

    Empty turns go, equal roles in a row are merged (joined by a newline), counsellor turns before the first client turn and
    client turns after the last counsellor turn are cut. Each of these is noted; nothing else is changed.

    Args:
        trainable: if False (evaluation texts), a dialogue may lack counsellor turns and keep its trailing client turn.
    """
    notes = [Note(file, place, reason, action, shorten(detail)) for reason, action, detail in draft.notes]

    def note(reason: str, action: Action, detail: str = "") -> None:
        notes.append(Note(file, place, reason, action, shorten(detail)))

    system, turns = "", list[tuple[Role, str]]()
    for role, raw in draft.turns:
        text = raw.strip()
        if not text:
            if raw or role != "system":
                note("empty turn", "removed", role)
        elif role == "system":
            if turns:
                note("system message after the first turn", "removed", text)
            elif system:
                system = f"{system}\n{text}"
                note("several system messages", "merged")
            else:
                system = text
        elif turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]}\n{text}")
            note("consecutive counsellor turns" if role == "assistant" else "consecutive client turns", "merged", text)
        elif not turns and role == "assistant" and trainable:
            note("counsellor speaks before the client", "cut", text)
        else:
            turns.append((role, text))
    if trainable and turns and turns[-1][0] == "user":
        if len(turns) == 1:
            note("no counsellor turn", "dropped", turns[0][1])
            return Record(None, tuple(notes), file, place)
        note("trailing client turn", "cut", turns.pop()[1])
    if not turns:
        note("no turn of both client and counsellor", "dropped")
        return Record(None, tuple(notes), file, place)
    messages = tuple(Message(role, text) for role, text in turns)
    if system:
        messages = (Message("system", system), *messages)
    return Record(Dialogue(id, messages, source, draft.meta), tuple(notes), file, place)


def count_reasons(notes: Iterable[Note], actions: Iterable[str] | None = None) -> dict[str, int]:
    """Number of notes per reason, most frequent first; `actions` restricts which are counted."""
    wanted = set(actions) if actions is not None else None
    counts: dict[str, int] = {}
    for note in notes:
        if wanted is None or note.action in wanted:
            counts[note.reason] = counts.get(note.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def strings(meta: Mapping[str, object]) -> dict[str, str]:
    """Only the entries that are non-empty strings or numbers, as strings."""
    return {k: str(v) for k, v in meta.items() if isinstance(v, str | int | float) and str(v).strip()}
