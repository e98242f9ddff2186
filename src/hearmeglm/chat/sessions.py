"""Kept talks: one SQLite file on this machine, off unless someone switches it on.

What `append` has returned from is on the disk (WAL, `synchronous=FULL`): a `kill -9` or a power cut loses nothing that was
acknowledged. What `delete` has returned from is gone from the file and its log (`secure_delete`, checkpoint), not merely
unlinked. With a key, names, texts and guard states are encrypted (Fernet: AES-128-CBC with HMAC-SHA256).
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from ..errors import DataError, UserError
from ..types import Message, messages_from_json

BUSY_MS = 10_000
"""How long a write waits for another process (`hearme sessions delete` beside a running server)."""
_PROBE = b"hearmeglm sessions"
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, name BLOB NOT NULL, created REAL NOT NULL, updated REAL NOT NULL, state BLOB);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    role TEXT NOT NULL, content BLOB NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS by_session ON messages (session, id);
"""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One kept talk; times in seconds since 1970."""

    id: str
    name: str
    messages: int
    created: float
    updated: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def session_id(name: str, owner: str = "") -> str:
    """The id under which the talk `name` of `owner` (an API key's name) is kept: two owners never share one."""
    return hashlib.sha256(f"{owner}\0{name}".encode()).hexdigest()[:32]


def read_key(path: Path) -> bytes:
    """The encryption key in `path`; a new one is made there, readable by its owner only, if the file does not exist."""
    from cryptography.fernet import Fernet

    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(Fernet.generate_key() + b"\n")
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError:
        pass
    else:
        # the name, too, must outlast a power cut: what is written with a lost key is lost
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return path.read_bytes().strip()


class SessionStore:
    """Talks and guard states by session id. Safe to use from several threads.

    Args:
        path: the database file; made if missing, readable by its owner only.
        key: a Fernet key (see `read_key`); None: plain text.
        retention_days: messages are kept for so many days, and a talk untouched for longer leaves as a whole; None: what the file
            was set to before.
        at_first: retention of a file that was never set to any; None: for ever.

    Raises:
        DataError: not a session database.
        UserError: encrypted with another key, or with one when none is given.
    """

    def __init__(
        self,
        path: Path,
        *,
        key: bytes | None = None,
        retention_days: float | None = None,
        at_first: float | None = None,
    ) -> None:
        self.path, self._lock = Path(path), RLock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self._cipher = _cipher(key)
        self._db = sqlite3.connect(self.path, timeout=BUSY_MS / 1000, check_same_thread=False, isolation_level=None)
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            with self._write() as db:
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                self._check_key(db)
                for days, how in ((retention_days, "REPLACE"), (at_first, "IGNORE")):
                    if days is not None:
                        db.execute(f"INSERT OR {how} INTO meta VALUES ('retention_days', ?)", (days,))
        except sqlite3.DatabaseError as err:
            self._db.close()
            raise DataError(f"expected a session database, found {err}", where=str(path)) from None
        except UserError:
            self._db.close()
            raise
        with suppress(
            UserError
        ):  # another process holds the log open: the file opens all the same, the next `purge` wipes it
            self.purge()

    @property
    def retention_days(self) -> float | None:
        with self._lock:  # never beside `close`: SQLite would crash the process
            row = self._db.execute("SELECT value FROM meta WHERE name = 'retention_days'").fetchone()
        return float(row[0]) if row else None

    def append(self, sid: str, name: str, *messages: Message, state: Any = None, new: bool = True) -> None:
        """Add messages to a talk, and its guard state if given; on the disk when this returns.

        Args:
            new: make the talk if there is none; False: add nothing then, for it was deleted while a reply was under way.
        """
        now = time.time()
        with self._write() as db:
            if new:
                db.execute(
                    "INSERT INTO sessions VALUES (?, ?, ?, ?, NULL) ON CONFLICT (id) DO UPDATE SET updated = excluded.updated",
                    (sid, self._seal(name), now, now),
                )
            elif not db.execute("UPDATE sessions SET updated = ? WHERE id = ?", (now, sid)).rowcount:
                return
            db.executemany(
                "INSERT INTO messages (session, role, content, at) VALUES (?, ?, ?, ?)",
                [(sid, m.role, self._seal(m.content), now) for m in messages],
            )
            if state is not None:
                db.execute("UPDATE sessions SET state = ? WHERE id = ?", (self._seal(json.dumps(state)), sid))

    def trim(self, sid: str, keep: int) -> None:
        """Forget all but the first `keep` messages of a talk, as thoroughly as `delete` does."""
        with self._write() as db:
            db.execute(
                "DELETE FROM messages WHERE session = ?1 AND id NOT IN"
                " (SELECT id FROM messages WHERE session = ?1 ORDER BY id LIMIT ?2)",
                (sid, keep),
            )
        self._wipe_log()

    def messages(self, sid: str) -> tuple[Message, ...]:
        """The talk so far; empty if there is none."""
        with self._lock:
            rows = self._db.execute(
                "SELECT role, content FROM messages WHERE session = ? ORDER BY id", (sid,)
            ).fetchall()
        return messages_from_json([{"role": role, "content": self._open(content)} for role, content in rows])

    def state(self, sid: str) -> Any:
        """The guard state kept last, or None."""
        with self._lock:
            row = self._db.execute("SELECT state FROM sessions WHERE id = ?", (sid,)).fetchone()
        return json.loads(self._open(row[0])) if row and row[0] is not None else None

    def all(self) -> list[SessionInfo]:
        """Every kept talk, the newest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT s.id, s.name, count(m.id), s.created, s.updated FROM sessions s"
                " LEFT JOIN messages m ON m.session = s.id GROUP BY s.id ORDER BY s.updated DESC"
            ).fetchall()
        return [SessionInfo(sid, self._open(name), n, created, updated) for sid, name, n, created, updated in rows]

    def export(self, sid: str) -> dict[str, Any]:
        """Everything kept about a talk, as JSON.

        Raises:
            UserError: no such talk.
        """
        found = next((s for s in self.all() if s.id == sid), None)
        if found is None:
            raise UserError(
                f"expected the id of a kept talk, found {sid!r}", hint="`hearme sessions list` shows the ids"
            )
        with self._lock:
            rows = self._db.execute(
                "SELECT role, content, at FROM messages WHERE session = ? ORDER BY id", (sid,)
            ).fetchall()
        talk = [{"role": role, "content": self._open(content), "at": at} for role, content, at in rows]
        return {**found.to_json(), "messages": talk, "guard": self.state(sid)}

    def delete(self, *sids: str) -> int:
        """Wipe talks for good; returns how many there were.

        Raises:
            UserError: another process kept the log open, so old pages may still be in it (the rows are gone).
        """
        with self._write() as db:
            gone = sum(db.execute("DELETE FROM sessions WHERE id = ?", (sid,)).rowcount for sid in sids)
        self._wipe_log()  # even of nothing: an earlier wipe may have failed
        return gone

    def purge(self, now: float | None = None) -> int:
        """Wipe what is older than the retention: untouched talks, and the old messages of the others.

        Returns:
            How many talks left as a whole.

        Raises:
            UserError: as `delete`.
        """
        gone, days = 0, self.retention_days
        if days is not None:
            limit = (time.time() if now is None else now) - days * 86_400
            with self._write() as db:
                gone = db.execute("DELETE FROM sessions WHERE updated < ?", (limit,)).rowcount
                db.execute("DELETE FROM messages WHERE at < ?", (limit,))
        self._wipe_log()
        return gone

    def close(self) -> None:
        """Close the file; calling it twice does no harm."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> SessionStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wipe_log(self) -> None:
        deadline = time.monotonic() + BUSY_MS / 1000
        with self._lock:
            while self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > deadline:
                    raise UserError(
                        "what was deleted may still stand in the database's log, which another process holds open",
                        where=str(self.path),
                        hint="stop the server, then run the same command again",
                    )
                time.sleep(0.05)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _check_key(self, db: sqlite3.Connection) -> None:
        row = db.execute("SELECT value FROM meta WHERE name = 'probe'").fetchone()
        if row is None:
            db.execute("INSERT INTO meta VALUES ('probe', ?)", (self._seal(_PROBE.decode()),))
            return
        try:
            if self._open(row[0]) == _PROBE.decode():
                return
        except (ValueError, UserError):
            pass
        found = "no key" if self._cipher is None else "another key" if row[0] != _PROBE else "a key for a plain file"
        raise UserError(
            f"expected the key that this session database was made with, found {found}",
            where=str(self.path),
            hint="name its key file with --session-key",
        )

    def _seal(self, text: str) -> bytes:
        data = text.encode("utf-8", "replace")
        return data if self._cipher is None else self._cipher.encrypt(data)

    def _open(self, data: bytes) -> str:
        if self._cipher is None:
            return data.decode("utf-8")
        from cryptography.fernet import InvalidToken

        try:
            plain: bytes = self._cipher.decrypt(data)
        except InvalidToken:
            raise UserError("a record does not decrypt with this key", where=str(self.path)) from None
        return plain.decode("utf-8")


@dataclass(frozen=True)
class KeptTalk:
    """One talk of a store, for a program with a single user (the terminal)."""

    store: SessionStore
    name: str

    @property
    def id(self) -> str:
        return session_id(self.name)

    def messages(self) -> tuple[Message, ...]:
        """The talk so far."""
        return self.store.messages(self.id)

    def state(self) -> Any:
        """The guard state kept last, or None."""
        return self.store.state(self.id)

    def add(self, message: Message, state: Any = None) -> None:
        """Keep one more message, and the guard's state if given; a reply only where its talk was not deleted meanwhile."""
        self.store.append(self.id, self.name, message, state=state, new=message.role != "assistant")

    def trim(self, keep: int) -> None:
        """Forget all but the first `keep` messages."""
        self.store.trim(self.id, keep)


def _cipher(key: bytes | None) -> Any:
    if key is None:
        return None
    from cryptography.fernet import Fernet

    try:
        return Fernet(key)
    except ValueError:
        raise UserError("expected a Fernet key (44 characters of base64), found something else") from None
