"""Whose turn it is, which bodies are read, and how many connections are taken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from rich.console import Console

from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.errors import Busy
from hearmeglm.server.app import Serving
from hearmeglm.server.gate import Gate
from hearmeglm.server.limits import FairQueue, Limits
from hearmeglm.server.metrics import server_metrics
from hearmeglm.server.run import serve


def test_one_key_does_not_fill_the_waiting_room_for_the_others() -> None:
    async def scene() -> None:
        queue = FairQueue(running=1, waiting=4)
        first = queue.enter("greedy")
        greedy = [queue.enter("greedy") for _ in range(4)]
        waits = asyncio.create_task(greedy[-1].turn(60))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            queue.enter("greedy")
        one = queue.enter("one")
        with pytest.raises(Busy):
            await waits
        two = queue.enter("two")
        three = queue.enter("three")
        with pytest.raises(Busy):  # everybody has one place now: nobody's only one goes
            queue.enter("four")
        assert queue.waiting == 4
        for place in (first, greedy[0], one, two, three):
            await place.turn(1)
            place.leave()
        assert (queue.running, queue.waiting) == (0, 0)
        for place in greedy[1:3]:
            with pytest.raises(Busy):
                await place.turn(1)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("method", "path", "read"),
    [("GET", "/health", False), ("POST", "/v1/models", False), ("POST", "/v1/chat/completions", True)],
)
def test_a_body_is_read_only_where_one_is_taken(method: str, path: str, read: bool) -> None:
    async def api(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask() -> list[int]:
        asked, statuses = 0, []

        async def receive() -> Any:
            nonlocal asked
            asked += 1
            await asyncio.sleep(60)

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        gate = Gate(api, Limits(body_s=0.05), server_metrics(), keys=None, hosts=())
        headers = [(b"content-type", b"application/json"), (b"content-length", b"9")]
        await gate({"type": "http", "method": method, "path": path, "headers": headers}, receive, send)
        return [asked, statuses[0]]

    assert asyncio.run(ask()) == ([1, 408] if read else [0, 200])


def test_more_connections_than_can_be_held_are_refused_but_health_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: seen.append(self.config.limit_concurrency))
    serve(Serving(ScriptedModel(["好"]), None, Limits(running=3, waiting=5)), "127.0.0.1", 0, Console(quiet=True))
    assert 3 + 5 + 100 < seen[0] < 1024
