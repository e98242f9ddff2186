"""Pieces of HTML that the tabs share: tables, notices, talks, the line of steps. Everything from outside is escaped."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..errors import HearmeError
from ..types import Message
from .words import Words

_MEASURE = re.compile(r"[+−-]?\d[\d.,:]*(?:/\d+)*(?: ?(?:%|s|min|h|B|KB|MB|GB))?(?: \[[^\]]*\])?|–")
"""A number with or without its unit or interval, as `size` and `seconds` write it, or the dash for one that is not known."""


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table that scrolls sideways on a phone; cells that are numbers are right-aligned, None is a dash."""
    listed = [tuple(row) for row in rows]
    right = [bool(listed) and all(_is_number(r[i]) for r in listed if i < len(r)) for i in range(len(head))]
    out = []
    for row in listed:
        cells = "".join(f"<td{_numeric(c)}>{_cell(c)}</td>" for c in row[1:])
        out.append(f'<tr><th scope="row">{_cell(row[0])}</th>{cells}</tr>')
    titles = "".join(
        f'<th scope="col"{" class=n" if r and i else ""}>{escape(h)}</th>'
        for i, (h, r) in enumerate(zip(head, right, strict=True))
    )
    name = f"<caption>{escape(caption)}</caption>" if caption else ""
    label = escape(caption or " ".join(head)[:60])
    return f'<div class="hm-scroll" tabindex="0" role="region" aria-label="{label}"><table class="hm">{name}<thead><tr>{titles}</tr></thead><tbody>{"".join(out)}</tbody></table></div>'


class Raw(str):
    """Markup of our own, which a table cell shows as it is."""


def notice(text: str, kind: str = "info", *more: str) -> str:
    """A box with a sentence and, below it, smaller ones. Kinds: info, good, warn, bad, empty."""
    small = "".join(f"<p>{escape(m)}</p>" for m in more if m)
    role = "alert" if kind == "bad" else "note"
    return f'<div class="hm-note {kind}" role="{role}"><strong>{escape(text)}</strong>{small}</div>'


def empty(words: Words, key: str) -> str:
    """What an empty place says: what will be here and what to do first."""
    return notice(words(f"{key}.title"), "empty", words(f"{key}.how"))


def problem(words: Words, err: HearmeError | str) -> str:
    """An error: what kind, what is wrong, where, what to do."""
    title, what, where, hint = words.error(err)
    lines = [what, words("error.where", where=where) if where else "", words("error.hint", hint=hint) if hint else ""]
    return notice(title, "bad", *lines)


def talk(messages: Iterable[Message], words: Words) -> str:
    """A dialogue as bubbles."""
    who = {"user": words("who.user"), "assistant": words("who.assistant"), "system": words("who.system")}
    return "".join(
        f'<div class="hm-say {m.role}"><b>{escape(who[m.role])}</b><p>{escape(m.content)}</p></div>' for m in messages
    )


def steps(done: Mapping[str, bool], at_work: str | None, words: Words) -> str:
    """The run's steps in order as a line: done, at work, still to do."""
    items = []
    first = True
    for name, ready in done.items():
        state = "work" if name == at_work else "done" if ready else "next" if first and at_work is None else "todo"
        first = first and ready
        label = words(f"step.{name}") if name in ("data", "evals") else name
        now = ' aria-current="step"' if state in ("work", "next") else ""
        items.append(
            f'<li class="{state}"{now}><span>{escape(label)}</span><small>{escape(words(f"state.{state}"))}</small></li>'
        )
    return f'<ol class="hm-steps" aria-label="{escape(words("steps"))}">{"".join(items)}</ol>'


def bar(done: float, whole: float, label: str) -> str:
    """A progress bar."""
    share = min(1.0, done / whole) if whole else 0.0
    return (
        f'<div class="hm-progress" role="progressbar" aria-label="{escape(label)}" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share:.0%}"'.replace(
            "%", ""
        )
        + f'><i style="width:{share:.1%}"></i></div>'
    )


def marked(text: str, other: str) -> str:
    """`text` with what is not in `other` marked."""
    out = []
    for op, _, _, start, end in difflib.SequenceMatcher(None, other, text, autojunk=False).get_opcodes():
        piece = escape(text[start:end])
        if piece:
            out.append(piece if op == "equal" else f"<mark>{piece}</mark>")
    return "".join(out)


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def seconds(count: float | None) -> str:
    """A time span for people, in either language: 42 s, 3:20 min, 1:05 h."""
    if count is None:
        return "–"
    if count < 100:
        return f"{count:.0f} s"
    if count < 6000:
        return f"{count // 60:.0f}:{count % 60:02.0f} min"
    return f"{count // 3600:.0f}:{count % 3600 // 60:02.0f} h"


def _cell(value: Any) -> str:
    if isinstance(value, Raw):
        return value
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "✓" if value else "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = escape(str(value))
    head, bracket, interval = text.partition(
        " ["
    )  # an interval stands below its value, or four models need two screens
    return f"{head}<small>[{interval}</small>" if bracket and _is_number(value) else text


def _numeric(value: Any) -> str:
    return ' class="n"' if _is_number(value) else ""


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_MEASURE.fullmatch(value))
    return isinstance(value, int | float) and not isinstance(value, bool)
