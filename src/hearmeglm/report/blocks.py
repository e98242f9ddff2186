"""The report as a tree of blocks. One tree a language; HTML, PDF and DOCX are three drawings of the same tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Lang = Literal["zh", "en"]
LANGS: tuple[Lang, ...] = ("zh", "en")


@dataclass(frozen=True, slots=True)
class Para:
    """A paragraph; text between backticks is set as code. `quiet` is smaller and grey (a source line, a remark)."""

    text: str
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading below the section's."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list; numbered if `ordered`."""

    items: tuple[str, ...]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption.

    Attributes:
        key: what it shows, the same in both languages (`table:overlap`).
        align: a letter a column: l or r.
        widths: relative width of each column; empty: by content.
        source: where its numbers come from.
    """

    key: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str = ""
    widths: tuple[float, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture: vector (`svg`), with a bitmap of 200 dpi and more for formats that cannot draw vectors.

    Attributes:
        width_cm: printed width.
        alt: what it shows, in words.
    """

    key: str
    caption: str
    svg: str
    png: bytes
    width_cm: float = 16.0
    alt: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Bubble:
    """One utterance of a chat picture."""

    role: Literal["system", "user", "assistant"]
    who: str
    text: str


@dataclass(frozen=True, slots=True)
class Chat:
    """A talk drawn as a chat, counted as a figure. `columns` stand side by side (the same prompt, two models)."""

    key: str
    caption: str
    columns: tuple[tuple[str, tuple[Bubble, ...]], ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """A listing; with a key it is counted as a figure."""

    text: str
    key: str = ""
    caption: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class NotRun:
    """Something that a complete report has and this run has not: said, never left out."""

    key: str
    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist: a requirement, the section that meets it, whether it is met, and what is missing."""

    item: str
    section: str
    met: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Checklist:
    """The requirements and grading items of a course, each with its place in this report."""

    caption: str
    head: tuple[str, str, str, str]
    rows: tuple[Check, ...]
    yes: str
    no: str


Block = Para | Heading | Bullets | Table | Figure | Chat | Code | NotRun | Checklist


@dataclass(frozen=True, slots=True)
class Section:
    """A numbered section. `key` is the same in both languages and links to it."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The report in one language: cover, sections, and the words that the drawing itself needs."""

    lang: Lang
    title: str
    subtitle: str
    cover: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str, str], ...]
    notice: str
    sections: tuple[Section, ...]
    labels: dict[str, str]

    def blocks(self) -> Iterator[Block]:
        """All blocks in order."""
        for section in self.sections:
            yield from section.blocks

    def number(self, key: str) -> int:
        """Number of the section with this key, from 1."""
        return [s.key for s in self.sections].index(key) + 1


def numbered(document: Document) -> dict[str, int]:
    """Number of each table, and of each figure (pictures, chats and keyed listings together), by key."""
    out: dict[str, int] = {}
    figures = tables = 0
    for block in document.blocks():
        if isinstance(block, Table):
            tables += 1
            out[block.key] = tables
        elif isinstance(block, Figure | Chat) or (isinstance(block, Code) and block.key):
            figures += 1
            out[block.key] = figures
    return out


def spans(text: str) -> list[tuple[str, bool]]:
    """Cut a text at its backticks: (piece, is code)."""
    return [(piece, i % 2 == 1) for i, piece in enumerate(text.split("`")) if piece]


def texts(blocks: Sequence[Any]) -> Iterator[str]:
    """Every text of some blocks, for tests that compare the languages."""
    for b in blocks:
        if isinstance(b, Para | Heading):
            yield b.text
        elif isinstance(b, Bullets):
            yield from b.items
        elif isinstance(b, Table):
            yield b.caption
            for row in b.rows:
                yield from row
        elif isinstance(b, Figure | Chat):
            yield b.caption
        elif isinstance(b, Checklist):
            for check in b.rows:
                yield check.item
        elif isinstance(b, NotRun):
            yield b.text
