"""When to say again that Jerry is an AI, to suggest a break, to point to real people; and the consent of the first use.

The texts, intervals and switches are the policy's (`safety.policy`); here is only the clock of one talk and the file of consent.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..files import read_json, write_json
from ..safety.hotlines import Lang
from ..safety.policy import Policy, notice

KEYS = ("start", "timer", "break", "dependence", "minor", "minor_timer")
LANGS: tuple[Lang, ...] = ("zh", "en")
PAUSE_S = 30 * 60.0
"""After so long a silence a new talk begins: the start notice is due again, the timers start anew."""


@dataclass
class Clock:
    """Times of one talk, in seconds since 1970; None: not yet."""

    started: float | None = None
    noticed: float = 0.0
    rested: float = 0.0
    seen: float = 0.0

    def due(
        self, policy: Policy, text: str, lang: Lang, now: float | None = None, *, crisis: bool = False
    ) -> list[str]:
        """What to show before the reply to `text`, `crisis`: from somebody in danger; the clock goes on."""
        now = time.time() if now is None else now
        if self.started is None or now - self.seen > PAUSE_S:
            self.started = self.noticed = self.rested = now
        self.seen = now
        minutes, since_notice, since_break = ((now - t) / 60 for t in (self.started, self.noticed, self.rested))
        out = policy.due(
            minutes=minutes, since_notice=since_notice, since_break=since_break, text=text, lang=lang, crisis=crisis
        )
        if any(notice(key, policy.region, lang) in out for key in ("timer", "minor_timer")):
            self.noticed = now
        if notice("break", policy.region, lang) in out:
            self.rested = now
        return out

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, obj: Mapping[str, Any] | None) -> Clock:
        """The clock that `to_json` wrote; a new one from None."""
        return cls(**obj) if obj else cls()


def without_notices(text: str, policy: Policy) -> str:
    """A reply that comes back in a client's history, without the notices put before it: they are not the model's words."""
    known = [notice(key, policy.region, lang) for key in KEYS for lang in LANGS]
    while head := next((n for n in known if text.startswith(n)), ""):
        text = text[len(head) :].lstrip("\n")
    return text


@dataclass(frozen=True)
class Consent:
    """Who agreed to which first-use text on this machine.

    Args:
        path: JSON file; made when somebody agrees.
    """

    path: Path

    def given(self, text: str) -> bool:
        """True if exactly this text was agreed to; a changed one has to be agreed to again."""
        return self.path.is_file() and _digest(text) in {row["sha256"] for row in read_json(self.path)["agreed"]}

    def give(self, text: str) -> None:
        """Keep that it was agreed to, and when."""
        rows = read_json(self.path)["agreed"] if self.path.is_file() else []
        rows.append({"sha256": _digest(text), "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
        write_json(self.path, {"agreed": rows})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
