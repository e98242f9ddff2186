"""CPsyCounE end to end: a model answers its items, teacher-forced, and the replies are handed to the judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..asking import ask
from .sources import Judged, cpsycoune


def answer_cpsycoune(where: str, folder: Path, models: Sequence[str] | None, progress: Any = None) -> list[Judged]:
    """Replies of RUN|MODEL to every item of CPsyCounE, with the topic as group."""
    items = cpsycoune(folder)
    out = []
    for asked in ask(where, [(i.id, i.messages) for i, _ in items], models=models, progress=progress):
        out += [
            Judged(i.id, i.dialogue_id, asked.model, i.messages, reply, i.reference, topic)
            for (i, topic), reply in zip(items, asked.replies, strict=True)
        ]
    return out
