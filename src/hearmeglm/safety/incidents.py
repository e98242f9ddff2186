"""The opt-in incident log for the responsible person: time, kind and level; the message only if the client agreed.

One JSON line an incident, in a file that only its owner can read. Off unless the policy names a file.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from .guard import Assessment
from .policy import Policy


@dataclass(frozen=True)
class IncidentLog:
    """Where incidents go; `path` None records nothing."""

    path: Path | None = None
    with_text: bool = False

    @classmethod
    def of(cls, policy: Policy) -> IncidentLog:
        """The log that the policy asks for."""
        return cls(Path(policy.incident_log) if policy.incident_log else None, policy.incident_text)

    def record(self, assessment: Assessment, *, text: str = "", consent: bool = False) -> bool:
        """Append one incident if it is a crisis; True if something was written.

        Args:
            text: the client's message; kept only if the policy allows it and the client agreed.
        """
        if self.path is None or not assessment.crisis:
            return False
        row = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "kind": assessment.kind,
            "level": assessment.level,
            "guard_failed": assessment.closed,
        }
        if self.with_text and consent and text:
            row["text"] = text
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, (json.dumps(row, ensure_ascii=False) + "\n").encode())
        finally:
            os.close(handle)
        return True
