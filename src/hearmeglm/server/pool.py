"""Any number of OpenAI-compatible servers (vLLM, llama.cpp, another `hearme serve`) as one ChatModel."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from threading import Lock

from ..chat.model import ChatModel, Chunk
from ..chat.remote_model import Refused, RemoteModel
from ..errors import ModelError
from ..recipe import Sampling
from ..types import Message

KEY = "HEARME_BACKEND_KEY"
"""Environment variable with the backends' key."""
REST_S = 10.0
"""How long a backend that failed is left alone."""


def open_backends(urls: Sequence[str]) -> PoolModel:
    """Backends by address (`http://host:port/v1`, or `…/v1#model` where one serves several models).

    Their key, if they want one, is in the environment variable `HEARME_BACKEND_KEY`.

    Raises:
        ModelError: one cannot be reached and does not say its model in the address, or they serve different models.
    """
    parts = [url.partition("#") for url in urls]
    names = [name or _served(url.rstrip("/")) for url, _, name in parts]
    if len(set(names)) > 1:
        raise ModelError(
            f"expected backends that serve the same model, found {', '.join(sorted(set(names)))}",
            hint="name it: --backend http://host:port/v1#model",
        )
    return PoolModel([RemoteModel(url, name, KEY) for (url, _, _), name in zip(parts, names, strict=True)])


def _served(url: str) -> str:
    import httpx

    key = os.environ.get(KEY)
    try:
        found = httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=10)
        return str(found.raise_for_status().json()["data"][0]["id"])
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as err:
        raise ModelError(
            f"expected an OpenAI-compatible server, found {str(err).splitlines()[0] or type(err).__name__}",
            where=url,
            hint="check the address (it ends in /v1) and HEARME_BACKEND_KEY",
        ) from None


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
