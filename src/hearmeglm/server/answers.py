"""One reply on its way out, in OpenAI's two shapes: whole, or as server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi.responses import JSONResponse

from ..chat.model import Chunk
from .errors import from_exception
from .gate import log, place_of
from .metrics import Metrics
from .schema import ChatRequest


class Answer:
    """One reply on its way out, in OpenAI's two shapes."""

    def __init__(
        self, stream: AsyncGenerator[Chunk], first: Chunk, body: ChatRequest, model: str, metrics: Metrics, begun: float
    ) -> None:
        self._stream, self._first, self._body, self._metrics, self._begun = stream, first, body, metrics, begun
        self._tokens = self._read = 0
        self._base: dict[str, Any] = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }

    async def whole(self) -> JSONResponse:
        pieces_, finish = [], "stop"
        async for chunk in self._chunks():
            pieces_.append(chunk.text)
            finish = chunk.finish_reason or finish
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(pieces_)},
            "finish_reason": finish,
        }
        return JSONResponse({**self._base, "object": "chat.completion", "choices": [choice], "usage": self._usage()})

    async def events(self) -> AsyncGenerator[bytes]:
        try:
            yield self._event({"role": "assistant", "content": ""})
            finish = "stop"
            async for chunk in self._chunks():
                finish = chunk.finish_reason or finish
                if chunk.text:
                    yield self._event({"content": chunk.text})
            yield self._event({}, finish)
            if self._body.stream_options and self._body.stream_options.include_usage:
                yield sse({**self._base, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()})
            yield b"data: [DONE]\n\n"
        except Exception as err:  # too late for a status: the error is an event, and [DONE] never comes
            log.error("a stream failed: %s", place_of(err))
            yield sse(from_exception(err).body())

    async def _chunks(self) -> AsyncIterator[Chunk]:
        try:
            self._count(self._first)
            yield self._first
            async for chunk in self._stream:
                self._count(chunk)
                yield chunk
            self._metrics.observe("hearme_reply_seconds", time.monotonic() - self._begun)
        finally:
            self._metrics.add("hearme_tokens_total", self._tokens)
            await self._stream.aclose()

    def _count(self, chunk: Chunk) -> None:
        self._tokens += chunk.tokens
        self._read += chunk.prompt_tokens

    def _event(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return sse({**self._base, "object": "chat.completion.chunk", "choices": [choice]})

    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self._read,
            "completion_tokens": self._tokens,
            "total_tokens": self._read + self._tokens,
        }


def sse(obj: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(obj, ensure_ascii=False).encode() + b"\n\n"
