"""A ChatModel over an OpenAI-compatible server (OpenAI, vLLM, Ollama, llama.cpp's server, `hearme serve`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import Busy, ModelError
from ..recipe import Sampling
from ..types import Message
from .model import Chunk
from .text import lines

KEY = "HEARME_BACKEND_KEY"
"""Environment variable with the key of servers that are not OpenAI's."""
PROBE_S = 5.0
"""How long a server may take to say what it serves, in seconds."""


class Refused(ModelError):
    """The server works, but will not take this request (status 400, 404, 413, 422)."""


class Overloaded(ModelError, Busy):
    """The server works, but has no place free now (status 429, 503); `retry_after_s` says when to try again."""

    def __init__(self, problem: str, retry_after_s: float = 1.0) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class RemoteModel:
    """Streams from `POST {base_url}/chat/completions`.

    Args:
        base_url: with its `/v1`.
        model: the model's name there.
        api_key_env: name of the environment variable that holds the key (never the key itself).
        timeout_s: for connecting, and between two pieces of the stream.
        proxies: go by the proxy variables; not for a backend, whose words and key they must not route elsewhere.
    """

    def __init__(
        self, base_url: str, model: str, api_key_env: str = KEY, timeout_s: float = 60.0, *, proxies: bool = False
    ) -> None:
        self._url, self.name = base_url.rstrip("/"), model
        self._key = os.environ.get(api_key_env, "")
        self._timeout, self._proxies = timeout_s, proxies
        self._usage = True

    def served(self) -> str:
        """Name of the first model that the server has; shows that it answers.

        Raises:
            ModelError: it does not, or it is no OpenAI-compatible server.
        """
        import httpx

        try:
            found = httpx.get(f"{self._url}/models", headers=self._headers(), timeout=PROBE_S, trust_env=self._proxies)
            return str(found.raise_for_status().json()["data"][0]["id"])
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as err:
            raise ModelError(
                f"expected an OpenAI-compatible server, found {(str(err).splitlines() or [type(err).__name__])[0]}",
                where=self._url,
                hint=f"check the address (it ends in /v1) and {KEY}",
            ) from None

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """See `ChatModel.stream`; raises ModelError on an HTTP error or a broken stream, Overloaded if there is no place free."""
        import httpx

        body: dict[str, Any] = {
            "model": self.name,
            "messages": [m.to_json() for m in messages],
            "stream": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            "seed": sampling.seed,
        }
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        if sampling.repetition_penalty != 1:
            body["repetition_penalty"] = sampling.repetition_penalty
        if self._usage:
            body["stream_options"] = {"include_usage": True}
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        ended, finish, made = False, None, 0
        usage: Any = None
        try:
            with httpx.stream(
                "POST",
                f"{self._url}/chat/completions",
                json=body,
                headers=self._headers(),
                timeout=self._timeout,
                trust_env=self._proxies,
            ) as response:
                if response.status_code != 200:
                    response.read()
                    if self._usage and "stream_options" in response.text:  # a strict server that does not count
                        self._usage = False
                        yield from self.stream(messages, sampling)
                        return
                    if response.status_code in (429, 503):
                        raise Overloaded("the model's server is busy", _seconds(response.headers.get("retry-after")))
                    kind = Refused if response.status_code in (400, 404, 413, 422) else ModelError
                    raise kind(f"the server answered {response.status_code}: {response.text[:200]}", where=self._url)
                for line in lines(response.iter_bytes()):
                    if not line.startswith("data:"):
                        continue
                    data = line[5:].strip()
                    if data == "[DONE]":
                        ended = True
                        break
                    broken, text, why, told = _read(json.loads(data))
                    if broken:
                        raise ModelError(
                            "the server broke off in the middle of its reply", where=self._url, hint="try again"
                        )
                    usage = told or usage  # after the last piece, from servers that tell
                    finish = why or finish
                    ended = ended or finish is not None
                    if text:
                        made += 1
                        yield Chunk(text)
        except httpx.HTTPError as err:
            raise ModelError(
                f"the server cannot be reached: {err or type(err).__name__}",
                where=self._url,
                hint="check the address and that it runs",
            ) from None
        except ValueError:
            raise ModelError("expected server-sent events with JSON, found something else", where=self._url) from None
        if not ended:
            raise ModelError("the stream broke off before its end", where=self._url, hint="try again")
        # A piece may hold several tokens: what the server counted makes up for them.
        yield Chunk(
            "", max(_count(usage, "completion_tokens") - made, 0), finish or "stop", _count(usage, "prompt_tokens")
        )


def _read(event: Any) -> tuple[bool, str, str | None, Any]:
    """Of one event: whether it tells an error, its text, why the reply ends (None: it does not), its usage.

    Raises:
        ValueError: it has not the shape of a chat completion's chunk.
    """
    try:
        choice = (event.get("choices") or [{}])[0]
        text = (choice.get("delta") or {}).get("content") or ""
        why = choice.get("finish_reason") or None
        if isinstance(text, str) and isinstance(why, str | None):
            return bool(event.get("error")), text, why, event.get("usage")
    except (AttributeError, KeyError, IndexError, TypeError):
        pass
    raise ValueError("another shape")


def _seconds(retry_after: str | None) -> float:
    """A Retry-After header in seconds, at most an hour; 1 where it is missing or a date."""
    return min(float(retry_after), 3600.0) if retry_after and retry_after.isdecimal() else 1.0


def _count(usage: Any, name: str) -> int:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) else 0
