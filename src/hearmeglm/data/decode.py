"""From bytes to text and from text to JSON records, for files that people really have.

UTF-8 with or without BOM, UTF-16 with BOM, GB18030; CRLF; NUL bytes; lone surrogates; JSON Lines named `.json` and the reverse;
lines of any length up to 64 MiB, read one at a time. What cannot be read is said, never passed over.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import DataError
from .records import shorten

MAX_LINE = 64 * 1024 * 1024
"""Longest line of JSON Lines that is read, in bytes."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Warn = Callable[[str, str], None]
"""Called with (reason, detail) for everything that was read in spite of a fault."""


class Unreadable(ValueError):
    """A line or record that cannot be read; its text is the reason."""


def decode(raw: bytes) -> tuple[str, str]:
    """Decode bytes and say how: (text, encoding), the encoding one of utf-8, utf-8 with BOM, utf-16, gb18030.

    GB18030 accepts nearly every byte string, so it is taken only where UTF-8 fails more often than it succeeds on the bytes
    above 127; a mostly valid UTF-8 text with a broken place is refused instead of being turned into nonsense.

    Raises:
        Unreadable: neither.
    """
    if raw.startswith(codecs.BOM_UTF8):
        return _utf8(raw[3:]), "utf-8 with BOM"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return raw.decode("utf-16"), "utf-16"
        except UnicodeDecodeError as err:
            raise Unreadable(f"broken UTF-16 at byte {err.start}") from None
    try:
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as err:
        loose = raw.decode("utf-8", "replace")
        broken = loose.count("\ufffd")
        valid = sum(c > "\x7f" for c in loose) - broken
        if broken > valid:
            try:
                text = raw.decode("gb18030")
            except UnicodeDecodeError:
                pass
            else:
                if _plausible(text):
                    return text, "gb18030"
        raise Unreadable(f"neither UTF-8 nor GB18030 (byte {err.start} is 0x{raw[err.start]:02x})") from None


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as err:
        raise Unreadable(f"broken UTF-8 at byte {err.start}") from None


def _plausible(text: str) -> bool:
    """Whether most characters above ASCII are what Chinese text is made of (Han, its punctuation, full-width forms)."""
    high = [c for c in text if c > "\x7f"]
    usual = sum(
        "\u4e00" <= c <= "\u9fff" or "\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uffef" or "\u2010" <= c <= "\u2026"
        for c in high
    )
    return not _CONTROL.search(text.replace("\x00", "")) and usual >= 0.7 * len(high)


def repair(text: str, warn: Warn) -> str:
    """Remove lone surrogates, which no UTF-8 file can hold, and control characters; warn about each kind."""
    if _SURROGATE.search(text):
        warn("lone surrogate", "")
        text = _SURROGATE.sub("", text)
    if _CONTROL.search(text):
        warn("NUL or control character", "")
        text = _CONTROL.sub("", text)
    return text


def parse_json(text: str) -> Any:
    """Parse one JSON document leniently (raw control characters inside strings are let through).

    Raises:
        Unreadable: not JSON, or nested too deeply.
    """
    try:
        return json.loads(text, strict=False)
    except RecursionError:
        raise Unreadable("JSON nested too deeply") from None
    except ValueError as err:
        if "\x00" in text:
            return parse_json(text.replace("\x00", ""))
        raise Unreadable(f"not JSON: {shorten(str(err), 120)}") from None


def read_text(path: Path, warn: Warn) -> str:
    """A whole text file; line ends become `\\n`.

    Raises:
        Unreadable: its encoding is unknown.
    """
    text, encoding = decode(path.read_bytes())
    if encoding != "utf-8":
        warn(f"encoding {encoding}", "")
    if "\r" in text:
        warn("CRLF line ends", "")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return repair(text, warn)


def json_values(path: Path, warn: Warn) -> Iterator[tuple[str, Any | Unreadable]]:
    """The JSON values of a file with their places: the document itself, or the lines of JSON Lines, whatever the file is named.

    JSON Lines are read one line at a time (flat memory); a broken line is yielded as `Unreadable` and the rest goes on.

    Raises:
        Unreadable: a JSON document that cannot be read.
        DataError: an empty file.
    """
    with open(path, "rb") as data:
        if data.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            yield from _from_text(read_text(path, warn), path, warn)
            return
        data.seek(0)
        lines = _lines(data)
        first = next(((n, line) for n, line in lines if line.strip(b"\xef\xbb\xbf\x00 \t\r\n")), None)
        if first is None:
            raise DataError("expected JSON, found an empty file", where=str(path))
        try:
            # a document spread over lines cannot be parsed from its first line alone
            parse_json(decode(first[1])[0])
            by_line = True
        except Unreadable:
            by_line = path.suffix == ".jsonl" and not _is_document(path)
        if by_line:
            if path.suffix == ".json":
                rest = next(((n, line) for n, line in lines if line.strip()), None)
                if rest is None:
                    yield "", parse_json(_line_text(first[1], warn, set()))
                    return
                warn("JSON Lines in a file named .json", "")
                yield from _parse_lines(iter([first, rest]), lines, warn)
            else:
                yield from _parse_lines(iter([first]), lines, warn)
            return
    yield from _from_text(read_text(path, warn), path, warn)


def _from_text(text: str, path: Path, warn: Warn) -> Iterator[tuple[str, Any | Unreadable]]:
    """A decoded file: one document, else JSON Lines if at least one line parses."""
    try:
        value = parse_json(text)
    except Unreadable as err:
        numbered = ((n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip())
        values = [(str(n), _try_parse(line)) for n, line in numbered]
        if not any(isinstance(v, dict) for _, v in values):
            raise err from None
        yield from values
        return
    if path.suffix == ".jsonl":
        warn("one JSON document in a file named .jsonl", "")
    yield "", value


def _is_document(path: Path) -> bool:
    try:
        parse_json(decode(path.read_bytes())[0])
    except Unreadable:
        return False
    return True


def _lines(data: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines; one longer than MAX_LINE is yielded cut (and so will not parse)."""
    number = 0
    while line := data.readline(MAX_LINE):
        number += 1
        yield number, line
        while len(line) == MAX_LINE and not line.endswith(b"\n"):
            line = data.readline(MAX_LINE)


def _parse_lines(
    head: Iterator[tuple[int, bytes]], tail: Iterator[tuple[int, bytes]], warn: Warn
) -> Iterator[tuple[str, Any | Unreadable]]:
    seen: set[str] = set()
    for lines in (head, tail):
        for number, raw in lines:
            if not raw.strip():
                continue
            try:
                yield str(number), parse_json(_line_text(raw, warn, seen))
            except Unreadable as err:
                yield str(number), Unreadable(f"line longer than {MAX_LINE} bytes") if len(raw) == MAX_LINE else err


def _line_text(raw: bytes, warn: Warn, seen: set[str]) -> str:
    text, encoding = decode(raw)
    if encoding != "utf-8" and encoding not in seen:
        seen.add(encoding)
        warn(f"encoding {encoding}", "")
    if raw.endswith(b"\r\n") and "crlf" not in seen:
        seen.add("crlf")
        warn("CRLF line ends", "")
    return text


def _try_parse(line: str) -> Any | Unreadable:
    try:
        return parse_json(line)
    except Unreadable as err:
        return err
