"""Any number of OpenAI-compatible servers (vLLM, llama.cpp, another `hearme serve`) as one ChatModel."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from threading import Lock

from ..chat.model import ChatModel, Chunk
from ..chat.remote_model import Refused, RemoteModel
from ..errors import Busy, ModelError
from ..recipe import Sampling
from ..types import Message

REST_S = 10.0
"""How long a backend that failed is left alone, in seconds."""


def open_backends(urls: Sequence[str]) -> PoolModel:
    """Backends by address (`http://host:port/v1`, or `…/v1#model` where one serves several models).

    Their key, if they want one, is in the environment variable `HEARME_BACKEND_KEY`.

    Raises:
        ModelError: one cannot be reached and does not say its model in the address, or they serve different models.
    """
    parts = [url.partition("#") for url in urls]
    names = [name or RemoteModel(url, "").served() for url, _, name in parts]
    if len(set(names)) > 1:
        raise ModelError(
            f"expected backends that serve the same model, found {', '.join(sorted(set(names)))}",
            hint="name it: --backend http://host:port/v1#model",
        )
    return PoolModel([RemoteModel(url, name) for (url, _, _), name in zip(parts, names, strict=True)])


class PoolModel:
    """Sends each talk to the backend with the fewest running ones; one that fails before its first piece is passed over.

    A talk is never moved once a piece has reached the client. Backends share no state, so any can answer any request.
    One that has no place free is passed over as well, but does not rest.
    """

    def __init__(self, backends: Sequence[ChatModel], name: str = "") -> None:
        if not backends:
            raise ValueError("expected at least one backend")
        self.backends = list(backends)
        self.name = name or backends[0].name
        self._lock = Lock()
        self._running = [0] * len(backends)
        # 0: it works as far as we know; else it has failed, and nothing has gone well since
        self._rests_until = [0.0] * len(backends)

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """See `ChatModel.stream`; raises the last backend's ModelError if none answers, Busy if one would later."""
        tried: set[int] = set()
        last: Busy | ModelError | None = None
        while True:
            at = self._take(tried)
            tried.add(at)
            begun = False
            try:
                for chunk in self.backends[at].stream(messages, sampling):
                    begun = True
                    yield chunk
                self._rest(at, 0.0)
                return
            except Refused:  # the request is at fault, not the backend
                raise
            except (Busy, ModelError) as err:
                busy = isinstance(err, Busy)
                if not busy:
                    self._rest(at)
                if begun:
                    raise
                if busy or not isinstance(last, Busy):
                    last = err
            finally:
                with self._lock:
                    self._running[at] -= 1
            if len(tried) == len(self.backends):
                raise last

    def healthy(self) -> int:
        """How many backends work as far as we know. One that failed and has rested is asked again here; takes up to `PROBE_S` then."""
        now = time.monotonic()
        with self._lock:
            rested = [i for i, until in enumerate(self._rests_until) if 0 < until <= now]
            for i in rested:  # at once: others who ask meanwhile must not ask it, too
                self._rests_until[i] = now + REST_S
        for i in rested:
            served = getattr(self.backends[i], "served", None)
            with suppress(ModelError):
                if served:
                    served()
                    self._rest(i, 0.0)
        with self._lock:
            return self._rests_until.count(0.0)

    def _rest(self, at: int, seconds: float = REST_S) -> None:
        """Leave a backend alone for so long; 0: it works."""
        with self._lock:
            self._rests_until[at] = time.monotonic() + seconds if seconds else 0.0

    def _take(self, tried: set[int]) -> int:
        now = time.monotonic()
        with self._lock:
            left = [i for i in range(len(self.backends)) if i not in tried]
            at = min(left, key=lambda i: (self._rests_until[i] > now, self._running[i], i))
            self._running[at] += 1
            return at
