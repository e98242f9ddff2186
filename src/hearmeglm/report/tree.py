"""A Document as plain JSON with its numbers filled in: what the HTML and PDF templates read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from .blocks import Bullets, Chat, Checklist, Code, Document, Figure, NotRun, Para, Table, numbered, spans


def to_tree(document: Document, picture: Callable[[Figure], str]) -> dict[str, Any]:
    """The document for a template.

    Args:
        picture: gives the reference by which the template finds a figure's image.
    """
    numbers = numbered(document)
    labels = document.labels

    def caption(key: str, text: str, kind: str) -> dict[str, str]:
        gap = "" if document.lang == "zh" else " "
        return {"label": f"{labels[kind]}{gap or ' '}{numbers[key]}", "text": text}

    def place(section: str) -> str:
        return str(document.number(section)) if section else ""

    def one(block: Any) -> dict[str, Any]:
        out: dict[str, Any] = {"type": type(block).__name__.lower(), "key": getattr(block, "key", "")}
        if isinstance(block, Para):
            out |= {"spans": spans(block.text), "quiet": block.quiet}
        elif isinstance(block, Bullets):
            out |= {"items": [spans(i) for i in block.items], "ordered": block.ordered}
        elif isinstance(block, Table):
            out |= asdict(block) | {"caption": caption(block.key, block.caption, "table")}
        elif isinstance(block, Figure):
            out |= {
                "caption": caption(block.key, block.caption, "figure"),
                "image": picture(block),
                "width": block.width_cm,
                "alt": block.alt,
                "source": block.source,
            }
        elif isinstance(block, Chat):
            columns = [{"title": t, "bubbles": [asdict(b) for b in bubbles]} for t, bubbles in block.columns]
            out |= {"caption": caption(block.key, block.caption, "figure"), "columns": columns, "source": block.source}
        elif isinstance(block, Code):
            out |= {
                "text": block.text,
                "caption": caption(block.key, block.caption, "figure") if block.key else None,
                "source": block.source,
            }
        elif isinstance(block, NotRun):
            out |= {"text": block.text, "command": block.command}
        elif isinstance(block, Checklist):
            out |= asdict(block) | {"rows": [asdict(r) | {"place": place(r.section)} for r in block.rows]}
        else:
            out["text"] = block.text
        return out  # fmt: skip

    return {
        "lang": document.lang,
        "title": document.title,
        "subtitle": document.subtitle,
        "cover": document.cover,
        "facts": document.facts,
        "notice": document.notice,
        "labels": labels,
        "sections": [{"key": s.key, "number": i, "title": s.title, "blocks": [one(b) for b in s.blocks]} for i, s in enumerate(document.sections, 1)],
    }  # fmt: skip
