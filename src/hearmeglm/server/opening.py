"""What has to be in order before others can reach the server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import UserError
from ..safety.policy import Policy, is_loopback, may_open


@dataclass(frozen=True)
class Opening:
    """Where the server listens, and with what.

    Attributes:
        behind_proxy: others reach it although it listens on this machine only.
        guard: False only for research on this machine.
        sessions: talks are kept.
        backends: addresses of remote backends.
    """

    host: str
    behind_proxy: bool = False
    guard: bool = True
    sessions: bool = False
    backends: tuple[str, ...] = ()

    @property
    def to_others(self) -> bool:
        """True if anybody but the user of this machine can reach it."""
        return self.behind_proxy or not is_loopback(self.host)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names that the Host header may have: on this machine only its own (against DNS rebinding), else any."""
        return () if self.to_others else ("localhost", "127.0.0.1", "::1", self.host.strip("[]").lower())

    def policy(self, file: Path | None, retention_days: float | None = None, region: str | None = None) -> Policy:
        """The policy to serve with; what it tells a client about storage and other machines is made true.

        Raises:
            UserError: the server may not be opened; the message lists all that is missing.
        """
        policy = may_open("a reverse proxy" if self.behind_proxy else self.host, file, region)
        if self.to_others and not self.guard:
            raise UserError("the guard can be switched off on this machine only", where="--no-guard")
        if self.sessions and file is not None and not policy.store_sessions:
            raise UserError(
                "--sessions keeps talks, but the policy says store_sessions: false",
                where=str(file),
                hint="change one of them",
            )
        elsewhere = any(not is_loopback(urlsplit(url).hostname or "") for url in self.backends)
        true = {"store_sessions": self.sessions, "remote_model": elsewhere or policy.remote_model}
        days = {} if retention_days is None else {"retention_days": retention_days}
        return policy.model_copy(update={**true, **days})
