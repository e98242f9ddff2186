"""API keys: drawn at random, shown once, kept as SHA-256 only.

A key holds 256 random bits, so a fast hash is safe: there is nothing to guess, unlike with a password.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError, UserError
from ..files import read_json, write_json

PREFIX = "hm-"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of a key: the name it was given, its hash, and when it was made."""

    name: str
    sha256: str
    created: str


class KeyFile:
    """The keys that may use a server.

    Args:
        path: JSON file, readable by its owner only; it need not exist yet.

    Raises:
        DataError: the file is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys: dict[str, KeyRecord] = {}
        self._seen = -1
        self._reload()

    def __len__(self) -> int:
        return len(self._keys)

    def create(self, name: str) -> str:
        """Make a key; the returned text is the only copy.

        Raises:
            UserError: the name is taken or empty.
        """
        if not name.strip() or any(k.name == name for k in self._keys.values()):
            raise UserError(f"expected a name that no key has yet, found {name!r}", where=str(self.path))
        key = PREFIX + secrets.token_urlsafe(32)
        self._save([*self._keys.values(), KeyRecord(name, _digest(key), time.strftime("%Y-%m-%dT%H:%M:%S%z"))])
        return key

    def revoke(self, name: str) -> None:
        """Forget a key; a running server refuses it from its next request on.

        Raises:
            UserError: no key has that name.
        """
        kept = [k for k in self._keys.values() if k.name != name]
        if len(kept) == len(self._keys):
            names = ", ".join(sorted(k.name for k in self._keys.values())) or "none"
            raise UserError(f"no key is named {name!r}", where=str(self.path), hint=f"have: {names}")
        self._save(kept)

    def all(self) -> list[KeyRecord]:
        """What is kept of each key."""
        return sorted(self._keys.values(), key=lambda k: k.created)

    def owner(self, authorization: str | None) -> str | None:
        """The name of the key in an `Authorization` header, or None if it is missing or unknown."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        self._reload()
        digest = _digest(key.strip())
        found = None
        for record in self._keys.values():  # all of them: the time taken does not tell which one fits
            if hmac.compare_digest(record.sha256, digest):
                found = record.name
        return found

    def _save(self, keys: list[KeyRecord]) -> None:
        before = os.umask(0o077)
        try:
            write_json(self.path, {"keys": [{"name": k.name, "sha256": k.sha256, "created": k.created} for k in keys]})
        finally:
            os.umask(before)
        self._reload()

    def _reload(self) -> None:
        try:
            changed = self.path.stat().st_mtime_ns
        except FileNotFoundError:
            self._keys = {}
            return
        if changed == self._seen:
            return
        tree: Any = read_json(self.path)
        try:
            keys = [KeyRecord(str(k["name"]), str(k["sha256"]), str(k["created"])) for k in tree["keys"]]
        except (KeyError, TypeError):
            raise DataError("expected a file of API keys, found something else", where=str(self.path)) from None
        self._keys, self._seen = {k.name: k for k in keys}, changed


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
