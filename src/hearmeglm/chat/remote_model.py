"""A ChatModel over an OpenAI-compatible server (OpenAI, vLLM, Ollama, llama.cpp's server, `hearme serve`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import ModelError
from ..recipe import Sampling
from ..types import Message
from .model import Chunk
from .text import lines


class Refused(ModelError):
    """The server works, but will not take this request (status 400, 404, 413, 422)."""


class RemoteModel:
    """Streams from `POST {base_url}/chat/completions`.

    Args:
        base_url: with its `/v1`.
        model: the model's name there.
        api_key_env: name of the environment variable that holds the key (never the key itself).
        timeout_s: for connecting, and between two pieces of the stream.
    """

    def __init__(self, base_url: str, model: str, api_key_env: str = "OPENAI_API_KEY", timeout_s: float = 60.0) -> None:
        self._url, self.name = base_url.rstrip("/"), model
        self._key = os.environ.get(api_key_env, "")
        self._timeout = timeout_s
        self._usage = True

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """See `ChatModel.stream`; raises ModelError on an HTTP error or a broken stream."""
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
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        ended, finish, made = False, None, 0
        usage: Any = None
        try:
            with httpx.stream(
                "POST", f"{self._url}/chat/completions", json=body, headers=headers, timeout=self._timeout
            ) as response:
                if response.status_code != 200:
                    response.read()
                    if self._usage and "stream_options" in response.text:  # a strict server that does not count
                        self._usage = False
                        yield from self.stream(messages, sampling)
                        return
                    kind = Refused if response.status_code in (400, 404, 413, 422) else ModelError
                    raise kind(f"the server answered {response.status_code}: {response.text[:200]}", where=self._url)
                for line in lines(response.iter_bytes()):
                    if not line.startswith("data:"):
                        continue
                    data = line[5:].strip()
                    if data == "[DONE]":
                        ended = True
                        break
                    event = json.loads(data)
                    if event.get("error"):
                        raise ModelError(
                            "the server broke off in the middle of its reply", where=self._url, hint="try again"
                        )
                    usage = event.get("usage") or usage  # after the last piece, from servers that tell
                    choice = (event.get("choices") or [{}])[0]
                    finish = choice.get("finish_reason") or finish
                    ended = ended or finish is not None
                    if text := (choice.get("delta") or {}).get("content"):
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


def _count(usage: Any, name: str) -> int:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) else 0
