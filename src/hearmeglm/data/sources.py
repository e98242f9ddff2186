"""Readers: from raw files to Records. One function per format lies in `formats` and `cpsycound`; here they meet the files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import sha256_file
from ..types import Dialogue, Message
from . import cpsycound, starter
from .decode import Unreadable, Warn, decode, json_values
from .formats import JSON_FORMATS, Format, recognise
from .labels import AT_START
from .records import Draft, Note, Record, build, count_reasons, shorten

SUFFIXES = (".txt", ".json", ".jsonl")
TEXT_FORMAT = "cpsycound"
STARTER = "starter"
FORMATS: dict[str, str] = {
    "auto": "recognises each file by its content",
    STARTER: "the packaged corpus of our own writing",
    TEXT_FORMAT: "CPsyCounD: transcripts as text, 来访者：… / 心理咨询师：… a line",
    **{name: f.about for name, f in JSON_FORMATS.items()},
}
"""Every format name with one line about it."""


def read(
    path: Path | str, format: str = "auto", *, source: str = "", fill: starter.Fill = starter.fill_placeholders
) -> Iterator[Record]:
    """Stream the records of a file or folder; every record is yielded once, with its dialogue or with the reason it has none.

    Only converts: no deduplication, no filtering. In a folder, a file that cannot be read becomes a dropped record, and one that
    is no data file a note; a single file that cannot be read is an error.

    Args:
        path: a file, a folder (searched with its sub-folders), or empty for the packaged corpus.
        format: a key of `FORMATS`.
        source: name of the source, put into each dialogue.
        fill: fills the packaged corpus' hotline placeholders, (text, language) -> text.

    Raises:
        DataError: no such path or format, a link to a folder, an unreadable file, an empty folder.
    """
    if format not in FORMATS:
        raise DataError(
            f"expected a data format, found {format!r}", where="format", hint=f"one of {', '.join(FORMATS)}"
        )
    if not str(path) or format == STARTER:
        yield from _read_starter(Path(path) if str(path) else None, source, fill)
        return
    path = Path(path)
    files, notes = find(path)
    if notes:
        yield Record(None, tuple(notes), str(path), "")
    for file in files:
        yield from _read_file(file, path, format, source)


def find(path: Path) -> tuple[list[Path], list[Note]]:
    """The data files under a path in natural order, and notes about what was passed over.

    Raises:
        DataError: see `read`.
    """
    if path.is_symlink() and path.is_dir():
        raise DataError(
            "expected a file or folder, found a link to a folder",
            where=str(path),
            hint=f"give the folder itself: {path.resolve()}",
        )
    try:
        if path.is_file():
            return [path], []
        if not path.exists():
            raise DataError("expected a file or folder, found nothing", where=str(path), hint="check the path")
    except OSError as err:
        raise DataError(
            f"expected a file or folder, found {err.strerror}", where=shorten(str(path)), hint="check the path"
        ) from None
    if not path.is_dir():
        raise DataError("expected a file or folder, found a device or pipe", where=str(path))
    files, notes = [], list[Note]()

    def unreadable(err: OSError) -> None:
        notes.append(Note(str(err.filename), "", f"folder cannot be read: {err.strerror}", "skipped"))

    for folder, subfolders, names in os.walk(path, onerror=unreadable):
        for name in list(subfolders):
            if (Path(folder) / name).is_symlink():
                notes.append(Note(str(Path(folder) / name), "", "link to a folder is not followed", "skipped"))
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        for name in names:
            file = Path(folder) / name
            if file.suffix.lower() in SUFFIXES and not name.startswith(".") and file.is_file():
                files.append(file)
            else:
                notes.append(Note(str(file), "", "not a data file (.txt, .json, .jsonl)", "skipped"))
    if not files:
        raise DataError("expected .txt, .json or .jsonl files in the folder, found none", where=str(path))
    return sorted(files, key=_natural), notes


def _natural(path: Path) -> tuple[Any, ...]:
    """Sort key in which case_2 comes before case_10."""
    digits, key = "", list[Any]()
    for c in str(path) + "\0":
        if c.isascii() and c.isdigit():
            digits += c
        else:
            if digits:
                key.append((0, int(digits[:18]), digits))
                digits = ""
            key.append((1, 0, c))
    return tuple(key)


def digest(path: Path | str) -> str:
    """Sha256 over a source's files (names and contents), to tell whether it has changed; empty path: the packaged corpus."""
    import hashlib

    files = find(Path(path))[0] if str(path) else starter.files()
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name}\0{sha256_file(file)}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _read_file(file: Path, root: Path, format: str, source: str) -> Iterator[Record]:
    """Records of one file; a fault of the whole file is an error if the file was named, else a dropped record."""
    pending: list[Note] = []

    def warn(reason: str, detail: str) -> None:
        pending.append(Note(str(file), "", reason, "read", shorten(detail)))

    def flush(record: Record) -> Record:
        if not pending:
            return record
        notes = (*pending, *record.notes)
        pending.clear()
        return Record(record.dialogue, notes, record.file, record.place)

    stem = file.stem if file == root else str(file.relative_to(root).with_suffix("")).replace(os.sep, "/")
    try:
        if format == TEXT_FORMAT or (format == "auto" and _looks_like_text(file)):
            record = build(cpsycound.parse(file, warn), id=stem, source=source, file=str(file), place="")
            yield flush(record)
            return
        for place, name, value in _json_records(file, format, warn):
            yield flush(
                _convert(
                    value,
                    name,
                    id=f"{stem}#{place}" if place else stem,
                    source=source,
                    file=str(file),
                    place=place,
                    warn=warn,
                )
            )
    except Unreadable as err:
        if file == root:
            raise DataError(
                str(err), where=str(file), hint="`hearme data formats` shows the shapes that are read"
            ) from None
        yield flush(Record(None, (Note(str(file), "", "unreadable file", "dropped", str(err)),), str(file), ""))
    except DataError as err:
        if file == root:
            raise
        yield flush(Record(None, (Note(str(file), "", "unreadable file", "dropped", err.problem),), str(file), ""))
    except OSError as err:
        if file == root:
            raise DataError(f"expected a readable file, found {err.strerror or err}", where=str(file)) from None
        yield flush(
            Record(None, (Note(str(file), "", "unreadable file", "dropped", str(err.strerror or err)),), str(file), "")
        )


def _looks_like_text(file: Path) -> bool:
    """A `.txt` file, unless it begins like JSON."""
    if file.suffix.lower() != ".txt":
        return False
    with open(file, "rb") as data:
        return data.read(16).lstrip(b"\xef\xbb\xbf\x00 \t\r\n")[:1] not in (b"[", b"{")


def _json_records(file: Path, format: str, warn: Warn) -> Iterator[tuple[str, str, Any]]:
    """(place, format name, raw value) for each record of a JSON or JSON Lines file."""
    for line, value in json_values(file, warn):
        if isinstance(value, Unreadable):
            yield line, format, value
            continue
        if line == "" and isinstance(value, list):
            name = format if format != "auto" else recognise(value)
            whole = name is not None and (JSON_FORMATS[name].whole_list or (name == "openai" and _is_message(value)))
            if not whole:
                if not value:
                    raise Unreadable("expected records, found an empty list")
                for row, item in enumerate(value, 1):
                    yield str(row), format, item
                continue
        yield line, format, value


def _is_message(value: list[Any]) -> bool:
    return bool(value) and isinstance(value[0], dict) and "role" in value[0] and "messages" not in value[0]


def _convert(value: Any, format: str, *, id: str, source: str, file: str, place: str, warn: Warn) -> Record:
    try:
        if isinstance(value, Unreadable):
            raise value
        name = format if format != "auto" else recognise(value)
        if name is None:
            keys = ", ".join(map(str, list(value)[:6])) if isinstance(value, dict) else type(value).__name__
            raise Unreadable(f"expected a known record shape, found {keys}")
        spec: Format = JSON_FORMATS[name]
        draft = spec.parse(value)
        _repair(draft)
    except Unreadable as err:
        return Record(None, (Note(file, place, "unreadable record", "dropped", shorten(str(err), 200)),), file, place)
    draft.meta["format"] = name
    return build(draft, id=id, source=source, file=file, place=place, trainable=spec.trainable)


def _repair(draft: Draft) -> None:
    """Characters that no UTF-8 file can hold must not survive, wherever they came from."""
    from .decode import repair

    def warn(reason: str, detail: str) -> None:
        draft.notes.append((reason, "removed", detail))

    draft.turns = [(role, repair(text, warn)) for role, text in draft.turns]
    draft.meta = {k: repair(v, warn) for k, v in draft.meta.items()}


def _read_starter(path: Path | None, source: str, fill: starter.Fill) -> Iterator[Record]:
    files = find(path)[0] if path else starter.files()
    for file in files:
        for place, value in json_values(file, lambda reason, detail: None):
            record = _convert(
                value, "openai", id="", source=source, file=file.name, place=place, warn=lambda reason, detail: None
            )
            if record.dialogue is None or not isinstance(value, dict):
                yield record
                continue
            meta = {**record.dialogue.meta, "format": STARTER, "licence": starter.LICENCE}
            messages = tuple(Message(m.role, fill(m.content, meta.get("lang", "zh"))) for m in record.dialogue.messages)
            yield Record(
                Dialogue(str(value.get("id") or f"{file.stem}#{place}"), messages, source, meta),
                record.notes,
                record.file,
                place,
            )


@dataclass
class Reading:
    """What `hearme data read` reports."""

    format: str = "auto"
    dialogues: int = 0
    dropped: int = 0
    turns: int = 0
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "dialogues": self.dialogues,
            "dropped": self.dropped,
            "turns": self.turns,
            "warnings": self.warnings,
        }


def survey(path: Path | str, format: str = "auto", each: Callable[[Record], None] = lambda record: None) -> Reading:
    """Read everything and count it.

    Args:
        each: called with every record (progress, display).

    Raises:
        DataError: unreadable, or not one dialogue in it.
    """
    reading, formats, notes = Reading(), dict[str, int](), list[Note]()
    for record in read(path, format):
        each(record)
        notes.extend(record.notes)
        if record.dialogue is not None:
            reading.dialogues += 1
            reading.turns += record.dialogue.turns
            name = record.dialogue.meta.get("format", TEXT_FORMAT)
            formats[name] = formats.get(name, 0) + 1
        elif any(n.action == "dropped" for n in record.notes):
            reading.dropped += 1
    reading.format = format if format != "auto" else "+".join(sorted(formats)) or "auto"
    first: dict[str, Note] = {}
    for note in notes:
        first.setdefault(note.reason, note)
    reading.warnings = [
        f"{reason}: {n} ({first[reason].action}; first: {_place(first[reason])})"
        for reason, n in count_reasons(notes).items()
    ]
    if "psysuicide" in formats:
        reading.warnings.append("evaluation texts without counsellor turns: cannot be trained on")
    if not reading.dialogues:
        why = next((n for n in notes if n.action == "dropped"), None)
        raise DataError(
            f"expected at least one dialogue with a client and a counsellor turn, found {reading.dropped} records and no such dialogue",
            where=str(path),
            hint=f"first: {_place(why)}: {why.detail or why.reason}" if why else "check the path and the format",
        )
    return reading


def _place(note: Note) -> str:
    return f"{note.file}:{note.place}" if note.place else note.file


__all__ = ["AT_START", "FORMATS", "Reading", "Record", "decode", "digest", "find", "read", "survey"]
