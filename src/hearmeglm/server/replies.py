"""From a blocking stream in a worker thread to an async one that ends when nobody listens any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import Executor
from threading import Event
from typing import TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..chat.model import ChatModel, Chunk
from ..errors import HearmeError, ModelError
from ..recipe import Sampling
from ..types import Message
from .errors import ApiError

T = TypeVar("T")


class ClientLeft(BaseException):
    """The client closed its connection. No Exception: the guard answers for a model that fails, and nobody would read that answer."""


class Stoppable:
    """A ChatModel that breaks off at its next piece once `stopped` is set.

    Around it stands the guard, which reads on to the end of a sentence (in a crisis: of the reply) before it shows anything;
    without this a reply that nobody waits for would be made to that end.
    """

    def __init__(self, model: ChatModel, stopped: Event) -> None:
        self._model, self._stopped, self.name = model, stopped, model.name

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """See `ChatModel.stream`; raises ClientLeft when stopped, and ModelError for any fault of the model.

        The guard knows what to say in place of a model that raises ModelError; another error would reach somebody in danger.
        """
        try:
            stream = self._model.stream(messages, sampling)
            try:
                for chunk in stream:
                    if self._stopped.is_set():
                        raise ClientLeft
                    yield chunk
            finally:
                close = getattr(stream, "close", None)
                if close:
                    close()
        except HearmeError:
            raise
        except Exception as err:
            raise ModelError("the model failed in the middle of its work") from err


async def pieces(
    start: Callable[[Event], Iterator[Chunk]],
    pool: Executor,
    ended: Callable[[], object],
    limit_s: float,
    running: MutableMapping[asyncio.Future[None], Event],
) -> AsyncGenerator[Chunk]:
    """The chunks of `start(stopped)`, made in a thread of `pool`.

    Closing this iterator sets `stopped` and closes the stream in the thread at its next piece; `ended` is called in the event loop once the
    thread is through, so that a place is free only when the work has really stopped. Until then its future stands in `running`
    with the event that stops it.

    Raises:
        ApiError: the reply took longer than `limit_s` seconds.
        Exception: whatever the stream raised.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[Chunk | Exception | None] = asyncio.Queue()
    stopped = Event()

    def put(item: Chunk | Exception | None) -> None:
        loop.call_soon_threadsafe(arrived.put_nowait, item)

    def work() -> None:
        try:
            stream = start(stopped)
            try:
                for chunk in stream:
                    put(chunk)
                    if stopped.is_set():
                        return
            finally:
                close = getattr(stream, "close", None)
                if close:
                    close()
            put(None)
        except ClientLeft:
            pass  # nobody waits; None would mean that the reply is whole
        except Exception as err:
            put(err)

    try:
        task = loop.run_in_executor(pool, work)
    except RuntimeError:  # the pool is shut down
        ended()
        raise
    running[task] = stopped

    def over(task: asyncio.Future[None]) -> None:
        del running[task]
        ended()

    task.add_done_callback(over)
    deadline = time.monotonic() + limit_s
    try:
        while True:
            item = await asyncio.wait_for(arrived.get(), max(deadline - time.monotonic(), 0.001))
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
    except TimeoutError:
        raise ApiError(504, f"the reply took longer than {limit_s:g} s", "timeout") from None
    finally:
        stopped.set()


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled if the client leaves first.

    Raises:
        ClientLeft: it did.
    """
    gone = asyncio.ensure_future(_disconnect(receive))
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({gone, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise ClientLeft
    finally:
        for each in (gone, task):
            each.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events; ends their source when the client leaves.

    Args:
        events: the bytes to send.
        source: what they are made from; closed at the end, even if the client left before the first event was made.
        left: called if the client leaves before the end.
    """

    def __init__(
        self, events: AsyncGenerator[bytes], source: AsyncGenerator[Chunk], left: Callable[[], object]
    ) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-store"
        self.headers["x-accel-buffering"] = "no"  # a reverse proxy must not collect the pieces
        self._events, self._source, self._left = events, source, left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._send(send))
        except (ClientLeft, OSError):
            self._left()
        finally:
            await self._events.aclose()
            await self._source.aclose()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for data in self._events:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
