"""Several backends as one model, and `hearme serve` behind `hearme serve`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from live import live, running

from hearmeglm.chat.model import Chunk, complete
from hearmeglm.chat.open import open_model
from hearmeglm.chat.remote_model import Refused, RemoteModel
from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.errors import Busy, ModelError
from hearmeglm.recipe import Sampling
from hearmeglm.server.app import Serving
from hearmeglm.server.pool import PoolModel, open_backends
from hearmeglm.types import Message

TALK = [Message("user", "你好")]
SAMPLING = Sampling()  # type: ignore[call-arg]
EVENTS = """data: {"choices": [{"delta": {"content": "你好"}, "finish_reason": null}]}

data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}

data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}

data: [DONE]

""".encode()


class Failing:
    """Fails after some pieces."""

    name = "m"

    def __init__(self, after: int, error: type[ModelError] = ModelError) -> None:
        self.after, self.error, self.asked = after, error, 0

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        self.asked += 1
        for _ in range(self.after):
            yield Chunk("x")
        raise self.error("no")


def test_a_failing_backend_is_passed_over_and_rests() -> None:
    bad = Failing(0)
    pool = PoolModel([bad, ScriptedModel(["好"], name="m")])
    assert [complete(pool, TALK, SAMPLING).text for _ in range(3)] == ["好"] * 3
    assert bad.asked == 1
    assert pool.healthy() == 1


def test_all_failing_is_an_error_and_a_begun_reply_is_never_moved() -> None:
    with pytest.raises(ModelError):
        complete(PoolModel([Failing(0), Failing(0)]), TALK, SAMPLING)
    spare = Failing(0)
    with pytest.raises(ModelError):
        complete(PoolModel([Failing(2), spare]), TALK, SAMPLING)
    assert spare.asked == 0


def test_a_refused_request_does_not_count_against_the_backend() -> None:
    pool = PoolModel([Failing(0, Refused), ScriptedModel(["好"], name="m")])
    with pytest.raises(Refused):
        complete(pool, TALK, SAMPLING)
    assert pool.healthy() == 2


def test_the_least_busy_backend_is_taken() -> None:
    seen: list[str] = []
    lock = threading.Lock()

    def backend(name: str) -> ScriptedModel:
        def say(messages: Sequence[Message]) -> str:
            with lock:
                seen.append(name)
            return "好" * 50

        return ScriptedModel(say, name=name)

    pool = PoolModel([backend("a"), backend("b")])
    streams = [pool.stream(TALK, SAMPLING) for _ in range(6)]
    for stream in streams:
        next(stream)
    assert sorted(seen) == ["a"] * 3 + ["b"] * 3
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]


def test_a_backend_s_count_of_the_prompt_reaches_the_client() -> None:
    with live(Serving(ScriptedModel(["好的"], name="m"), None)) as back:
        pool = PoolModel([RemoteModel(f"{back}/v1", "m", "NO_SUCH_KEY")])
        with live(Serving(pool, None)) as url:
            body = {"model": "m", "messages": [m.to_json() for m in TALK]}
            usage = httpx.post(f"{url}/v1/chat/completions", json=body).json()["usage"]
    asked = sum(len(m.content) for m in TALK)
    assert usage == {"prompt_tokens": asked, "completion_tokens": 2, "total_tokens": asked + 2}


def test_a_strict_backend_that_does_not_know_stream_options_is_asked_without() -> None:
    bodies: list[dict[str, Any]] = []

    async def strict(scope: Any, receive: Any, send: Any) -> None:
        bodies.append(json.loads((await receive())["body"]))
        refused = "stream_options" in bodies[-1]
        text = b"extra field: stream_options" if refused else EVENTS
        await send({"type": "http.response.start", "status": 422 if refused else 200, "headers": []})
        await send({"type": "http.response.body", "body": text})

    with running(strict) as url:
        model = RemoteModel(url, "m", "NO_SUCH_KEY")
        for _ in range(2):
            chunks = list(model.stream(TALK, SAMPLING))
            assert "".join(c.text for c in chunks) == "你好"
            # a piece of two tokens: the server's own count decides
            assert (sum(c.tokens for c in chunks), sum(c.prompt_tokens for c in chunks)) == (3, 7)
    assert ["stream_options" in b for b in bodies] == [True, False, False]


def test_two_backends_over_http_and_one_of_them_dies() -> None:
    one, two = (Serving(ScriptedModel([f"我是{n}"], name="m"), None) for n in "一二")
    with live(two) as b:
        with live(one) as a:
            pool = PoolModel([RemoteModel(f"{u}/v1", "m", "NO_SUCH_KEY") for u in (a, b)])
            front = Serving(pool, None)
            with live(front) as url:
                model = RemoteModel(f"{url}/v1", "m", "NO_SUCH_KEY")
                assert complete(model, TALK, SAMPLING).text in ("我是一", "我是二")
        assert {complete(pool, TALK, SAMPLING).text for _ in range(4)} == {"我是二"}
        with pytest.raises(Refused):
            complete(pool, TALK, Sampling(max_new_tokens=10**6))  # type: ignore[call-arg]


def test_a_stream_that_tells_an_error_is_no_finished_reply() -> None:
    bodies: list[dict[str, Any]] = []
    broken = b'data: {"choices": [{"delta": {"content": "\xe6\x88\x91\xe5\x9c\xa8"}}]}\n\ndata: {"error": {"message": "gone"}}\n\ndata: [DONE]\n\n'

    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        bodies.append(json.loads((await receive())["body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": broken})

    with running(breaks) as url, pytest.raises(ModelError, match="broke off"):
        complete(RemoteModel(url, "m", "NO_SUCH_KEY"), TALK, SAMPLING.model_copy(update={"top_k": 5}))
    assert bodies[0]["top_k"] == 5
    assert "repetition_penalty" not in bodies[0]


def answers(status: int, body: bytes, *headers: tuple[bytes, bytes], asked: list[Any] | None = None) -> Any:
    """A server that gives one answer to everything."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if asked is not None:
            asked.append(dict(scope["headers"]).get(b"authorization"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.mark.parametrize(
    "event", ["[1]", "7", '"x"', '{"choices": {"a": 1}}', '{"choices": [7]}', '{"choices": [{"delta": [1]}]}',
              '{"choices": [{"delta": {"content": 7}}]}', '{"choices": [{"delta": {}, "finish_reason": 7}]}']
)  # fmt: skip
def test_json_of_another_shape_is_a_model_error(event: str) -> None:
    body = f"data: {event}\n\ndata: [DONE]\n\n".encode()
    with running(answers(200, body)) as url, pytest.raises(ModelError, match="server-sent events with JSON"):
        complete(RemoteModel(url, "m"), TALK, SAMPLING)


@pytest.mark.parametrize(("status", "header", "seconds"), [(429, b"7", 7), (503, b"9" * 400, 3600), (503, b"soon", 1)])
def test_a_busy_worker_is_passed_over_without_rest(status: int, header: bytes, seconds: float) -> None:
    asked: list[Any] = []
    with running(answers(status, b"no", (b"retry-after", header), asked=asked)) as url:
        busy = RemoteModel(url, "m")
        pool = PoolModel([busy, ScriptedModel(["好"], name="m")])
        assert [complete(pool, TALK, SAMPLING).text for _ in range(2)] == ["好"] * 2
        assert (len(asked), pool.healthy()) == (2, 2)
        for backends in ([busy], [busy, Failing(0)], [Failing(0), busy]):
            with pytest.raises(Busy) as none:
                complete(PoolModel(backends), TALK, SAMPLING)
            assert none.value.retry_after_s == seconds
    assert isinstance(none.value, ModelError)  # what the guard waits for, so that it can answer in the model's place


def test_a_backend_that_failed_is_unhealthy_until_something_goes_well(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mending(Failing):
        well = False
        probed = 0

        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            if not self.well:
                yield from super().stream(messages, sampling)
            yield Chunk("好")

        def served(self) -> str:
            self.probed += 1
            if not self.well:
                raise ModelError("no")
            return "m"

    def failed() -> tuple[PoolModel, Mending]:
        backend = Mending(0)
        pool = PoolModel([backend])
        with pytest.raises(ModelError):
            complete(pool, TALK, SAMPLING)
        return pool, backend

    pool, backend = failed()
    assert (pool.healthy(), backend.probed) == (0, 0)  # it rests
    monkeypatch.setattr("hearmeglm.server.pool.REST_S", 1e-9)
    monkeypatch.setattr(PoolModel._rest, "__defaults__", (1e-9,))
    pool, backend = failed()
    assert (pool.healthy(), backend.probed) == (0, 1)
    backend.well = True
    assert (pool.healthy(), pool.healthy(), backend.probed) == (1, 1, 2)
    pool, backend = failed()
    backend.well = True
    complete(pool, TALK, SAMPLING)
    assert (pool.healthy(), backend.probed) == (1, 0)


def test_no_proxy_variable_and_no_other_key_is_used_for_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy", "HEARME_BACKEND_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with live(Serving(ScriptedModel(["好"], name="m"), None)) as url:
        assert complete(open_backends([f"{url}/v1"]), TALK, SAMPLING).text == "好"
    with running(answers(200, EVENTS, asked=asked)) as url:
        assert complete(open_model(f"{url}/v1#m"), TALK, SAMPLING).text == "你好"
        monkeypatch.setenv("HEARME_BACKEND_KEY", "ours")
        assert complete(open_model(f"{url}/v1#m"), TALK, SAMPLING).text == "你好"
    assert asked == [None, b"Bearer ours"]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.openai.com/v1", "sk-secret"),
        ("http://api.openai.com/v1", "ours"),
        ("https://api.openai.com.example/v1", "ours"),
        ("https://api.openai.com@example.com/v1", "ours"),
    ],
)
def test_openais_key_goes_to_openai_only(url: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("HEARME_BACKEND_KEY", "ours")
    sent: list[dict[str, str]] = []

    def stream(*_: Any, headers: dict[str, str], **__: Any) -> Any:
        sent.append(headers)
        raise httpx.ConnectError("nothing leaves this test")

    monkeypatch.setattr(httpx, "stream", stream)
    with pytest.raises(ModelError):
        complete(open_model(f"{url}#gpt"), TALK, SAMPLING)
    assert sent == [{"Authorization": f"Bearer {key}"}]
