"""What every request passes before the API sees it: size, time, type and host of the request; one log line after it.

Plain ASGI, the outermost layer: whatever fails inside becomes an answer in OpenAI's shape here, and nothing that a client
wrote can reach a log (method, route, status, times and the place of an error are all that is written).
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
import traceback
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from .auth import KeyFile
from .errors import ApiError, from_exception
from .limits import Limits
from .metrics import Metrics

log = logging.getLogger("hearmeglm.server")
DRAIN = 8
"""A body up to so many times too large is read to its end before the answer."""
ROUTES = ("/v1/chat/completions", "/v1/models", "/v1/disclosure", "/health", "/metrics", "/openapi.json")


class Gate:
    """ASGI middleware around the API.

    Args:
        keys: who may pass (`/health` is open to all); None: everybody. The key's name is put into the scope.
        hosts: names that the `Host` header may have; empty: any. On loopback this stops DNS rebinding.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, metrics: Metrics, *, keys: KeyFile | None, hosts: Collection[str]
    ) -> None:
        self._app, self._limits, self._metrics, self._keys = app, limits, metrics, keys
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no WebSockets: the connection is refused
        begun, status = time.monotonic(), 0
        name = secrets.token_hex(6)

        async def sending(message: AsgiMessage) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *_security(name)]}
            await send(message)

        try:
            self._check(scope)
            if _takes_body(scope):
                receive = _replay(await self._read(receive), receive)
            await self._app(scope, receive, sending)
        except ConnectionResetError:
            pass
        except Exception as err:
            if not isinstance(err, ApiError):
                log.error("request %s failed: %s", name, place_of(err))
            if not status:  # else it is too late for an answer: the server cuts the connection
                await answer(from_exception(err), sending)
        finally:
            path = scope["path"] if scope["path"] in ROUTES else "other"
            self._metrics.add("hearme_requests_total", route=path, status=str(status or 499))
            log.info(
                "%s %s %s %d %.0f ms",
                name,
                scope["method"][:8] if scope["method"].isalpha() else "?",
                path,
                status or 499,
                1000 * (time.monotonic() - begun),
            )

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, list[bytes]] = {}
        for key, value in scope["headers"]:
            headers.setdefault(key, []).append(value)
        for single in (b"authorization", b"x-session-id", b"content-type", b"host"):
            if len(headers.get(single, ())) > 1:
                raise ApiError(400, f"the header {single.decode()} is given twice", "invalid_header")
        host = headers.get(b"host", [b""])[0].decode("latin-1").lower()
        if self._hosts and _without_port(host) not in self._hosts:
            raise ApiError(
                421,
                "this server answers to the name of this machine only (start it with --host to open it)",
                "wrong_host",
            )
        if self._keys is not None and scope["path"] != "/health":
            owner = self._keys.owner(headers.get(b"authorization", [b""])[0].decode("latin-1"))
            if owner is None:
                self._metrics.add("hearme_refused_total", reason="key")
                raise ApiError(401, "expected a valid key: Authorization: Bearer hm-…", "invalid_api_key")
            scope["hearme.owner"] = owner
        if _takes_body(scope):
            kind = headers.get(b"content-type", [b""])[0].partition(b";")[0].strip().lower()
            if kind != b"application/json":  # also keeps other sites' plain HTML forms out
                raise ApiError(415, "the body must be application/json", "unsupported_media_type")
            if b"content-encoding" in headers:
                raise ApiError(415, "compressed bodies are not taken", "unsupported_media_type")

    async def _read(self, receive: Receive) -> bytes:
        body, size = bytearray(), 0
        try:
            async with asyncio.timeout(self._limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionResetError
                    size += len(message.get("body", b""))
                    if size <= self._limits.body_bytes:
                        body += message.get("body", b"")
                    # somewhat too much is read to its end and thrown away: who is still sending does not read the answer
                    if size > DRAIN * self._limits.body_bytes or not message.get("more_body"):
                        break
        except TimeoutError:
            raise ApiError(408, f"the body did not arrive within {self._limits.body_s:g} s", "timeout") from None
        if size > self._limits.body_bytes:
            self._metrics.add("hearme_refused_total", reason="length")
            raise ApiError(413, f"at most {self._limits.body_bytes} bytes are taken", "request_too_large")
        return bytes(body)


async def answer(err: ApiError, send: Send) -> None:
    """Send an error as a whole response."""
    body = json.dumps(err.body(), ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **err.headers()}
    raw = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    if err.status in (408, 413):
        raw.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": err.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def place_of(err: BaseException) -> str:
    """Type and places of an error and of its cause, without their messages, which may hold what a client wrote."""
    frames = traceback.extract_tb(err.__traceback__)[-4:]
    places = " < ".join(f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}" for f in reversed(frames))
    cause = f" because of {place_of(err.__cause__)}" if err.__cause__ is not None else ""
    return f"{type(err).__name__} at {places}{cause}"


def _takes_body(scope: Scope) -> bool:
    """Whether the API reads a body there; elsewhere nobody waits for one."""
    return bool(scope["method"] == "POST" and scope["path"] == ROUTES[0])


def _security(name: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-request-id", name.encode()), (b"x-content-type-options", b"nosniff")]


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then waits for the client to leave."""
    given = False

    async def replay() -> AsgiMessage:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay
