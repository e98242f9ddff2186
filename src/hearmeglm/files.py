"""Files that are whole or not there: atomic writes, JSON Lines, digests."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import DataError


@contextmanager
def atomic_open(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a sibling temporary file that replaces `path` only if the block ends well (fsync, then rename).

    Args:
        mode: "w" (UTF-8 text, `\\n` line ends) or "wb".
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        text = "b" not in mode
        with open(tmp, mode, encoding="utf-8" if text else None, newline="\n" if text else None) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(tmp, path)
    finally:
        tmp.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically as UTF-8."""
    with atomic_open(path) as out:
        out.write(text)


def write_json(path: Path, obj: Any) -> None:
    """Write one JSON document atomically (UTF-8, indented, keys in the order given, newline at the end)."""
    write_text(path, json.dumps(obj, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Write one JSON document a line, atomically; rows may be dicts or have `to_json`. Returns the number of rows."""
    n = 0
    with atomic_open(path) as out:
        for row in rows:
            out.write(json.dumps(row.to_json() if hasattr(row, "to_json") else row, ensure_ascii=False) + "\n")
            n += 1
    return n


def read_json(path: Path) -> Any:
    """Read one UTF-8 JSON document.

    Raises:
        DataError: missing, not UTF-8, or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError("expected a JSON file, found nothing", where=str(path), hint="check the path") from None
    except (OSError, ValueError, RecursionError) as err:
        raise DataError(f"expected JSON in UTF-8, found {_brief(err)}", where=str(path)) from None


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream `(line number from 1, object)` from a UTF-8 JSON Lines file; blank lines are passed over.

    Raises:
        DataError: missing, not UTF-8, or a line that is not a JSON object (the line is named).
    """
    number = 0
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                obj = json.loads(line)
                if not isinstance(obj, dict):
                    raise DataError(f"expected a JSON object, found {type(obj).__name__}", where=f"{path}:{number}")
                yield number, obj
    except FileNotFoundError:
        raise DataError("expected a JSON Lines file, found nothing", where=str(path), hint="check the path") from None
    except (OSError, ValueError, RecursionError) as err:
        raise DataError(f"expected JSON Lines in UTF-8, found {_brief(err)}", where=f"{path}:{number or 1}") from None


def _brief(err: BaseException) -> str:
    return (str(err) or type(err).__name__).splitlines()[0][:160]


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in 1 MiB blocks."""
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def sha256_json(obj: Any) -> str:
    """Hex sha256 of an object's canonical JSON (sorted keys, no blanks)."""
    text = json.dumps(obj, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def cache_dir() -> Path:
    """The user's cache folder for this tool (`HEARME_CACHE`, else `$XDG_CACHE_HOME/hearmeglm`, else `~/.cache/hearmeglm`)."""
    if "HEARME_CACHE" in os.environ:
        return Path(os.environ["HEARME_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hearmeglm"


def data_dir() -> Path:
    """The user's folder for what this tool must keep: keys, consent (`HEARME_DATA`, else `$XDG_DATA_HOME/hearmeglm`, else `~/.local/share/hearmeglm`)."""
    if "HEARME_DATA" in os.environ:
        return Path(os.environ["HEARME_DATA"])
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "hearmeglm"
