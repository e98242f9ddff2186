"""A client for any OpenAI-compatible endpoint that loses no answer, asks nothing twice, and never shows its key.

Transport faults (429, 5xx, timeouts, cut or garbled bodies) are retried with exponential back-off and jitter; a 429 holds
every worker back. Each answer is written to an append-only cache file, keyed by content, before it is used.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ...errors import HearmeError, UserError
from ...files import sha256_json

if TYPE_CHECKING:
    import httpx

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class OutOfBudget(HearmeError):
    """The budget of calls or tokens is spent."""


class CallFailed(HearmeError):
    """No answer after all retries; the text says what the last fault was."""


@dataclass
class Budget:
    """Limits over a whole run of the judge; None: none. Failed attempts count as calls, since they may be billed."""

    calls: int | None = None
    tokens: int | None = None
    used_calls: int = 0
    used_tokens: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def take(self) -> None:
        """Count one call; raises OutOfBudget if there is none left."""
        with self._lock:
            if self.calls is not None and self.used_calls >= self.calls:
                raise OutOfBudget(f"budget of {self.calls} calls is spent")
            if self.tokens is not None and self.used_tokens >= self.tokens:
                raise OutOfBudget(f"budget of {self.tokens} tokens is spent")
            self.used_calls += 1

    def spend(self, tokens: int) -> None:
        """Count the tokens of an answer."""
        with self._lock:
            self.used_tokens += tokens


class JudgeClient:
    """One judge.

    Args:
        base_url: with its `/v1`; "/chat/completions" is added.
        model: its name there.
        api_key_env: environment variable that holds the key.
        cache: file of answers by content.
        timeout_s: for one call. retries: further attempts after a transport fault. backoff_s: first pause, doubled each time.
        rpm: at most so many calls a minute. max_tokens: of one answer.

    Raises:
        UserError: an address that is not http(s).
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        cache: Path,
        budget: Budget | None = None,
        timeout_s: float = 60.0,
        retries: int = 6,
        backoff_s: float = 0.5,
        rpm: float | None = None,
        max_tokens: int = 1024,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise UserError(
                f"expected an address such as http://127.0.0.1:8080/v1, found {base_url!r}", where="--base-url"
            )
        import httpx

        self.url, self.model = base_url.rstrip("/"), model
        self._key = os.environ.get(api_key_env, "")
        self.budget = budget or Budget()
        self._retries, self._backoff, self._gap = retries, backoff_s, 60 / rpm if rpm else 0.0
        self._max_tokens = max_tokens
        self._path = cache
        self._cache = _read_cache(cache)
        self._lock = Lock()
        self._not_before = 0.0
        self._http = httpx.Client(
            timeout=timeout_s, headers={"Authorization": f"Bearer {self._key}"} if self._key else {}
        )
        self.faults: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"JudgeClient({self.url!r}, {self.model!r})"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def cached(self, messages: Sequence[dict[str, str]], *, temperature: float, sample: int) -> bool:
        """True if this call would not reach the server."""
        return self._digest(messages, temperature, sample) in self._cache

    def ask(self, messages: Sequence[dict[str, str]], *, temperature: float = 0.0, sample: int = 0) -> str:
        """The answer to `messages`: from the cache, else from the server (and then in the cache).

        Args:
            sample: which of several answers to the same prompt; part of the cache key and the seed.

        Raises:
            OutOfBudget, CallFailed: nothing is cached then, so a later run asks again.
            UserError: the server refuses the request itself (401, 403, 404, 400).
        """
        key = self._digest(messages, temperature, sample)
        if (known := self._cache.get(key)) is not None:
            return known
        body = {
            "model": self.model,
            "messages": list(messages),
            "temperature": temperature,
            "max_tokens": self._max_tokens,
            "seed": sample,
        }
        text, tokens = self._with_retries(body)
        self.budget.spend(tokens)
        self._keep(key, text, tokens)
        return text

    def _with_retries(self, body: dict[str, Any]) -> tuple[str, int]:
        fault = ""
        for attempt in range(self._retries + 1):
            self._wait()
            self.budget.take()
            pause = self._backoff * 2**attempt * (0.5 + random.random())
            try:
                return self._once(body)
            except _Retry as err:
                fault = str(err)
                with self._lock:
                    self.faults[fault] = self.faults.get(fault, 0) + 1
                    if err.retry_after is not None:
                        self._not_before = max(self._not_before, time.monotonic() + err.retry_after)
            if attempt < self._retries:
                time.sleep(min(pause, 30.0))
        raise CallFailed(f"no answer after {self._retries + 1} attempts, last fault: {fault}")

    def _once(self, body: dict[str, Any]) -> tuple[str, int]:
        import httpx

        try:
            response = self._http.post(f"{self.url}/chat/completions", json=body)
        except httpx.TimeoutException:
            raise _Retry("timeout") from None
        except httpx.HTTPError as err:
            raise _Retry(f"connection: {type(err).__name__}") from None
        if response.status_code in RETRIED:
            raise _Retry(f"HTTP {response.status_code}", _retry_after(response))
        if response.status_code != 200:
            raise UserError(
                f"the judge's server answered {response.status_code}: {self._safe(response.text)[:200]}",
                where=self.url,
                hint="check the address, the model's name and the key's variable",
            )
        try:
            found = response.json()
            text = found["choices"][0]["message"]["content"]
            if not isinstance(text, str):
                raise TypeError
        except (ValueError, KeyError, IndexError, TypeError):
            raise _Retry("garbled body") from None
        usage = found.get("usage") or {}
        return text, int(usage.get("total_tokens") or sum(len(m["content"]) for m in body["messages"]) // 2)

    def _wait(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._not_before:
                    self._not_before = max(self._not_before, now) + self._gap if self._gap else self._not_before
                    return
                pause = self._not_before - now
            time.sleep(pause)

    def _safe(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def _digest(self, messages: Sequence[dict[str, str]], temperature: float, sample: int) -> str:
        return sha256_json([self.url, self.model, list(messages), temperature, sample])

    def _keep(self, key: str, text: str, tokens: int) -> None:
        line = json.dumps({"key": key, "text": self._safe(text), "tokens": tokens}, ensure_ascii=False) + "\n"
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a", encoding="utf-8", newline="\n") as out:
                out.write(line)
                out.flush()
                os.fsync(out.fileno())
            self._cache[key] = text


class _Retry(Exception):
    def __init__(self, fault: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(fault)


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return min(60.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _read_cache(path: Path) -> dict[str, str]:
    """Answers by key; a torn last line is closed with a line break so that the next one starts clean."""
    found: dict[str, str] = {}
    if not path.is_file():
        return found
    data = path.read_bytes()
    for line in data.splitlines():
        try:
            row = json.loads(line)
            found[row["key"]] = row["text"]
        except (ValueError, KeyError, TypeError):
            continue
    if data and not data.endswith(b"\n"):
        with open(path, "ab") as out:
            out.write(b"\n")
    return found
