"""What is judged: replies of a run, lines of a file, or CPsyCounE turn by turn; with null controls beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError
from ...files import read_jsonl
from ...types import Dialogue, Generation, Message, messages_from_json
from ..items import Item, items_of, shuffled
from ..language import language
from .rubric import rubric

ECHO, SYMPATHY, REFERENCE = "control:echo", "control:sympathy", "control:reference"


@dataclass(frozen=True, slots=True)
class Judged:
    """One reply to judge.

    Attributes:
        id: the same for every model that answers the same prompt.
        dialogue_id: the cluster for intervals.
        history: ending with the client's question.
        group: topic or source, for tables.
    """

    id: str
    dialogue_id: str
    model: str
    history: tuple[Message, ...]
    reply: str
    reference: str = ""
    group: str = ""


def from_generations(
    path: Path, *, dialogues: int | None, seed: int, models: Sequence[str] | None = None
) -> list[Judged]:
    """Replies of a run; with `dialogues`, those of so many dialogues drawn by seed (the original: 150)."""
    found = [Generation.from_json(row) for _, row in read_jsonl(path)]
    wanted = sorted({g.dialogue_id for g in found})
    if dialogues is not None:
        wanted = [d.id for d in shuffled([Dialogue(i, ()) for i in wanted], seed)][:dialogues]
    keep = set(wanted)
    return [
        Judged(g.id, g.dialogue_id, g.model, g.messages, g.prediction, g.reference)
        for g in found
        if g.dialogue_id in keep and (models is None or g.model in models)
    ]


def from_file(path: Path) -> list[Judged]:
    """Lines of `{"messages": […, user], "reply"}` with optional `id`, `dialogue_id`, `model`, `reference`.

    Raises:
        DataError: a line of another shape, or two lines with the same id and model.
    """
    out: list[Judged] = []
    seen: set[tuple[str, str]] = set()
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        try:
            history = messages_from_json(row["messages"])
            reply = row["reply"] if "reply" in row else row["prediction"]
            if not isinstance(reply, str) or not history:
                raise TypeError("reply must be a text and messages must not be empty")
        except (KeyError, TypeError, ValueError) as err:
            raise DataError(f'expected {{"messages": […], "reply": "…"}}, found a fault: {err}', where=where) from None
        item = Judged(
            str(row.get("id", number)),
            str(row.get("dialogue_id", row.get("id", number))),
            str(row.get("model", "model")),
            history,
            reply,
            str(row.get("reference", "")),
        )
        if (item.id, item.model) in seen:
            raise DataError(f"expected each id once per model, found {item.id!r} again", where=where)
        seen.add((item.id, item.model))
        out.append(item)
    if not out:
        raise DataError("expected replies to judge, found an empty file", where=str(path))
    return out


def cpsycoune(folder: Path) -> list[tuple[Item, str]]:
    """CPsyCounE's items with their topic: at each client utterance the history with the *reference* replies (teacher-forced).

    The folder holds a folder per topic with JSON lists of `求助者：…` / `支持者：…` (45 cases in nine topics, 296 items).

    Raises:
        DataError: no such folder, or a case that is not such a list.
    """
    if not folder.is_dir():
        raise DataError("expected the folder of CPsyCounE (a folder a topic), found nothing", where=str(folder))
    out: list[tuple[Item, str]] = []
    for path in sorted(folder.rglob("*.json")):
        topic = path.parent.name
        for item in items_of(_case(path, topic), "every"):
            out.append((item, topic))
    if not out:
        raise DataError("expected CPsyCounE cases (*.json), found none", where=str(folder))
    return out


def _case(path: Path, topic: str) -> Dialogue:
    try:
        lines = json.loads(path.read_text(encoding="utf-8-sig"))
        messages = []
        for line in lines:
            label, _, text = line.replace(":", "：", 1).partition("：")
            role = {"求助者": "user", "支持者": "assistant"}[label.strip()]
            messages.append(Message(role, text.strip()))  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as err:
        raise DataError(f"expected a list of 求助者：… and 支持者：… texts, found {err}", where=str(path)) from None
    if (
        messages and messages[-1].role == "user"
    ):  # the last question has no reference; it is still an item of the protocol
        messages.append(Message("assistant", ""))
    return Dialogue(f"{topic}/{path.stem}", tuple(messages), "cpsycoune")


def with_controls(items: Iterable[Judged]) -> list[Judged]:
    """The items and, once per prompt, three null controls: an echo of the client, generic sympathy, the reference.

    A judge that does not put the first two well below the third measures nothing.
    """
    found = list(items)
    first = {i.id: i for i in reversed(found)}
    stock: dict[str, str] = rubric()["controls"]["sympathy"]
    controls = []
    for item in first.values():
        asked = item.history[-1].content
        texts = {ECHO: asked, SYMPATHY: stock[language(asked)], REFERENCE: item.reference}
        for name, text in texts.items():
            if text:
                controls.append(Judged(item.id, item.dialogue_id, name, item.history, text, item.reference, item.group))
    return [*found, *controls]
