"""What one client may ask for, and who answers next when more ask than can be answered at once."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from dataclasses import dataclass

from ..errors import Busy


@dataclass(frozen=True)
class Limits:
    """Bounds of the server.

    Attributes:
        body_bytes: largest request body.
        body_s: seconds a client may take to send it.
        messages: most messages in a request.
        characters: most characters in all messages of a request together.
        new_tokens: longest reply; a larger `max_tokens` is refused.
        default_tokens: reply length when a request names none.
        per_minute: requests a key may make in a minute, on average; 0: no bound.
        burst: requests a key may make at once after a pause.
        running: replies made at the same time.
        waiting: requests that may wait for their turn; more get 429.
        waiting_s: longest wait, in seconds; then 429.
        reply_s: longest time a reply may take, in seconds.
    """

    body_bytes: int = 1 << 20
    body_s: float = 30.0
    messages: int = 200
    characters: int = 32_000
    new_tokens: int = 1024
    default_tokens: int = 256
    per_minute: int = 60
    burst: int = 20
    running: int = 4
    waiting: int = 64
    waiting_s: float = 60.0
    reply_s: float = 300.0


class RateLimiter:
    """A token bucket a key. Keys not seen for longer than a full refill are forgotten, so memory stays bounded."""

    def __init__(self, per_minute: int, burst: int) -> None:
        self._rate, self._burst = per_minute / 60, float(max(burst, 1))
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float | None = None) -> None:
        """Count one request.

        Raises:
            Busy: the key has used up its share; `retry_after_s` says when the next one fits.
        """
        if not self._rate:
            return
        now = time.monotonic() if now is None else now
        level, since = self._buckets.pop(key, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        full = self._burst / self._rate
        while self._buckets and now - next(iter(self._buckets.values()))[1] > full:
            self._buckets.popitem(last=False)
        self._buckets[key] = (level - 1 if level >= 1 else level, now)
        if level < 1:
            raise Busy("too many requests with this key", (1 - level) / self._rate)


class Place:
    """A request's place: waiting, then running. `leave` gives it up in either state; twice does no harm."""

    def __init__(self, queue: FairQueue, key: str) -> None:
        self._queue, self.key = queue, key
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.entered, self.left = time.monotonic(), False
        self.began: float | None = None

    def begin(self) -> None:
        """Called by the queue when it is this place's turn."""
        self.began = time.monotonic()
        if not self._turn.done():
            self._turn.set_result(None)

    def refuse(self, err: Busy) -> None:
        """Called by the queue when another key needs the room: `turn` raises `err`."""
        self.leave()
        if not self._turn.done():
            self._turn.set_exception(err)
            self._turn.exception()  # seen: whoever waits may be gone

    async def turn(self, timeout_s: float) -> None:
        """Wait until it is this place's turn.

        Raises:
            Busy: not within `timeout_s`, or another key needed the room; the place is given up.
        """
        try:
            await asyncio.wait_for(asyncio.shield(self._turn), timeout_s)
        except TimeoutError:
            self.leave()
            raise Busy("the queue did not move in time", self._queue.retry_after_s()) from None
        except asyncio.CancelledError:
            self.leave()
            raise

    def leave(self) -> None:
        """Give the place to the next one."""
        if not self.left:
            self.left = True
            self._queue.release(self)


class FairQueue:
    """Admits up to `running` places; the others wait, one line a key, and the lines take turns."""

    def __init__(self, running: int, waiting: int) -> None:
        self._most, self._room = running, waiting
        self._lines: OrderedDict[str, deque[Place]] = OrderedDict()
        self.running = self.waiting = 0
        self._service_s = 1.0  # moving average

    def enter(self, key: str) -> Place:
        """Take a place. Where no room is left, a key with a shorter line takes the newest place of the longest one.

        Raises:
            Busy: as many as may wait are waiting.
        """
        place = Place(self, key)
        if self.running < self._most:
            self.running += 1
            place.begin()
            return place
        if self.waiting >= self._room:
            full = Busy("too many requests are waiting", self.retry_after_s())
            longest = max(self._lines.values(), key=len, default=deque())
            # shorter by two at least: else two keys would push each other out by turns, and somebody's only place could go
            if len(self._lines.get(key, ())) + 1 >= len(longest):
                raise full
            longest[-1].refuse(full)
        self.waiting += 1
        self._lines.setdefault(key, deque()).append(place)
        return place

    def release(self, place: Place) -> None:
        """Called by `Place.leave`."""
        if place.began is None:
            self.waiting -= 1
            line = self._lines[place.key]
            line.remove(place)
            if not line:
                del self._lines[place.key]
            return
        self._service_s += 0.1 * (time.monotonic() - place.began - self._service_s)
        self.running -= 1
        if self._lines:
            key, line = self._lines.popitem(last=False)
            following = line.popleft()
            if line:
                self._lines[key] = line  # behind the others
            self.waiting -= 1
            self.running += 1
            following.begin()

    def retry_after_s(self) -> float:
        """An estimate of when a place will be free, in seconds."""
        return max(1.0, self._service_s * (self.waiting + 1) / self._most)
