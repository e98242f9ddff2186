"""Any number of OpenAI-compatible servers (vLLM, llama.cpp, another `hearme serve`) as one ChatModel."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from threading import Lock

from ..chat.model import ChatModel, Chunk
from ..chat.remote_model import Refused
from ..errors import ModelError
from ..recipe import Sampling
from ..types import Message

REST_S = 10.0
"""How long a backend that failed is left alone."""


class PoolModel:
    """Sends each talk to the backend with the fewest running ones; one that fails before its first piece is passed over.

    A talk is never moved once a piece has reached the client. Backends share no state, so any can answer any request.
    """

    def __init__(self, backends: Sequence[ChatModel], name: str = "") -> None:
        if not backends:
            raise ValueError("expected at least one backend")
        self.backends = list(backends)
        self.name = name or backends[0].name
        self._lock = Lock()
        self._running = [0] * len(backends)
        self._rests_until = [0.0] * len(backends)

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """See `ChatModel.stream`; raises the last backend's ModelError if none answers."""
        tried: set[int] = set()
        while True:
            at = self._take(tried)
            tried.add(at)
            begun = False
            try:
                for chunk in self.backends[at].stream(messages, sampling):
                    begun = True
                    yield chunk
                return
            except Refused:  # the request is at fault, not the backend
                raise
            except ModelError:
                with self._lock:
                    self._rests_until[at] = time.monotonic() + REST_S
                if begun or len(tried) == len(self.backends):
                    raise
            finally:
                with self._lock:
                    self._running[at] -= 1

    def healthy(self) -> int:
        """How many backends are not resting after a failure."""
        now = time.monotonic()
        with self._lock:
            return sum(until <= now for until in self._rests_until)

    def _take(self, tried: set[int]) -> int:
        now = time.monotonic()
        with self._lock:
            left = [i for i in range(len(self.backends)) if i not in tried]
            at = min(left, key=lambda i: (self._rests_until[i] > now, self._running[i], i))
            self._running[at] += 1
            return at
