"""Two hundred requests that mean no good, then the server answers as if nothing had been."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from live import live

from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.server.app import Serving
from hearmeglm.server.limits import Limits

CHAT = "/v1/chat/completions"
LIMITS = Limits(body_bytes=100_000, body_s=1.0, messages=50, characters=4000, new_tokens=64)
SPECIAL = [
    "<start_of_turn>model",
    "<end_of_turn>",
    "<bos>",
    "<eos>",
    "<|assistant|>",
    "<|im_start|>system",
    "[gMASK]sop",
    "</s>",
    "<0x0A>",
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    model = ScriptedModel(lambda m: m[-1].content[:20] or "嗯", name="m")
    with live(Serving(model, None, LIMITS, hosts=("127.0.0.1", "localhost"))) as address:
        yield address


def talk(content: Any = "你好", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **fields}


def bodies() -> Iterator[tuple[str, bytes, set[int]]]:
    """Name, body, and the statuses that are right."""
    good = json.dumps(talk()).encode()
    for n in (0, 1, 5, len(good) // 2, len(good) - 1):
        yield f"cut at {n}", good[:n], {400}
    for name, raw in {
        "not json": b"hello",
        "null": b"null",
        "number": b"7",
        "list": b"[]",
        "string": b'"x"',
        "nan": b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        "infinity": b'{"model":"m","messages":[{"role":"user","content":"x"}],"top_p":Infinity}',
        "not utf-8": b'{"model":"m","messages":[{"role":"user","content":"\xff\xfe"}]}',
        "deep list": b"[" * 50_000,
        "deep object": b'{"a":' * 15_000 + b"1" + b"}" * 15_000,
        "deep in content": b'{"model":"m","messages":[{"role":"user","content":' + b"[" * 40_000 + b"]}]}",
        "huge number": b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":' + b"9" * 5000 + b"}",
        "half a surrogate": b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        "nul": b'{"model":"m","messages":[{"role":"user","content":"a\\u0000b"}]}',
        "trailing": good + b"{}",
    }.items():
        yield name, raw, {400}
    yield "twice the key", b'{"model":"x",' + good[1:], {200}
    yield "utf-16", json.dumps(talk()).encode("utf-16"), {200, 400}
    yield "byte order mark", b"\xef\xbb\xbf" + good, {200, 400}
    yield "too large", json.dumps(talk("x" * 200_000)).encode(), {413}
    for field, values in {
        "model": ["", None, 7, [], "m" * 300, "../../etc/passwd", "m\n", "M"],
        "messages": [None, "x", [], {}, [None], ["x"], [{}], [{"role": "user"}], [{"content": "x"}]],
        "temperature": [-1, 3, "hot", [], {}, 1e400],
        "top_p": [-0.1, 1.1, "x"],
        "top_k": [-1, 10**12, 0.5],
        "repetition_penalty": [0, -1, 1e9, 1e-300],
        "dry_multiplier": [-1, 1e9, "x"],
        "max_tokens": [0, -5, 1e30, 65, 2**63, "many"],
        "seed": [-1, 2**40, "x"],
        "stop": ["", [""], ["a"] * 5, ["x" * 65], 7, [None]],
        "n": [0, 2, -1, "x"],
        "stream": ["maybe", 7, []],
        "user": [7, "u" * 300, []],
        "logprobs": [True],
        "tools": [[{"type": "function"}]],
        "presence_penalty": [1, -2],
        "frequency_penalty": [0.5],
        "stream_options": ["x", 7],
    }.items():
        for value in values:
            yield f"{field}={str(value)[:20]}", json.dumps({**talk(), field: value}).encode(), {400, 404}
    for role in ("tool", "function", "root", "USER", "assistant\nsystem", ""):
        yield f"role {role!r}", json.dumps(talk() | {"messages": [{"role": role, "content": "x"}]}).encode(), {400}
    for content in (
        None,
        7,
        [],
        {},
        [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
        [{"type": "text"}],
    ):
        yield f"content {str(content)[:20]}", json.dumps(talk(content)).encode(), {200 if content == [] else 400}
    last = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
    yield "ends with the assistant", json.dumps(talk() | last).encode(), {200}
    yield (
        "only a system message",
        json.dumps(talk() | {"messages": [{"role": "system", "content": "x"}]}).encode(),
        {200},
    )
    yield "empty", json.dumps(talk("")).encode(), {200}
    yield "blank", json.dumps(talk("   ")).encode(), {200}
    yield "too many", json.dumps(talk() | {"messages": [{"role": "user", "content": "x"}] * 51}).encode(), {400}
    yield "too long", json.dumps(talk("字" * 4001)).encode(), {400}
    yield (
        "long in sum",
        json.dumps(talk() | {"messages": [{"role": "user", "content": "字" * 90}] * 49}).encode(),
        {400},
    )
    for text in SPECIAL:
        yield f"special {text}", json.dumps(talk(text)).encode(), {200}
        yield f"special as stop {text}", json.dumps(talk(stop=text)).encode(), {200}
        yield f"special as user {text}", json.dumps(talk(user=text)).encode(), {200}
    for text in (
        "\u202e",
        "\ufeff",
        "\u200b" * 50 + "a",
        "a\u0300" * 900,
        "👩‍👩‍👧‍👦" * 50,
        "\x1b[2J",
        "'; DROP TABLE sessions;--",
        "${jndi:ldap://x}",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "%s%n%n",
    ):
        yield f"text {text[:5]!r}", json.dumps(talk(text)).encode(), {200}
    yield "unknown fields", json.dumps(talk(admin=True, __class__="x", guard=False)).encode(), {200}


PATHS = [
    "/", "/v1", "/v1/", "/v1/chat", "/v1/chat/completions/", "//v1/chat/completions", "/v1/../v1/models", "/..%2f..%2fetc/passwd", "/v1/models/..%2f..",
    "/v1/models/%00", "/V1/models", "/docs", "/redoc", "/static/../../x", "/openapi.json/..", "/health/../metrics", "/.env", "/.git/config", "/v1/models?" + "a=1&" * 500,
    "/%c0%ae%c0%ae/", "/v1/completions", "/v1/embeddings", "/admin", "/metrics/",
]  # fmt: skip
HEADERS: list[tuple[list[tuple[str, str]], set[int]]] = [
    ([("Content-Type", "text/plain")], {415}),
    ([("Content-Type", "application/x-www-form-urlencoded")], {415}),
    ([("Content-Type", "multipart/form-data; boundary=x")], {415}),
    ([("Content-Type", "application/jsonx")], {415}),
    ([], {415}),
    ([("Content-Type", "application/json"), ("Content-Type", "text/plain")], {400}),
    ([("Content-Type", "application/json"), ("Content-Encoding", "gzip")], {415}),
    ([("Content-Type", "application/json"), ("X-Session-Id", "a"), ("X-Session-Id", "b")], {400}),
    ([("Content-Type", "application/json"), ("X-Session-Id", "x" * 200)], {400}),
    ([("Content-Type", "application/json"), ("X-Session-Id", "a b")], {400}),
    ([("Content-Type", "application/json"), ("X-Session-Id", "../../s")], {200}),
    ([("Content-Type", "application/json"), ("X-Region", "ATLANTIS")], {400}),
    ([("Content-Type", "application/json"), ("Host", "evil.example")], {421}),
    ([("Content-Type", "application/json"), ("Host", "127.0.0.1.evil.example")], {421}),
    ([("Content-Type", "application/json"), ("Host", "")], {421, 400}),
    ([("Content-Type", "application/json"), ("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Host", "x")], {200}),
    ([("Content-Type", "application/json"), ("Authorization", "Basic x"), ("Authorization", "Bearer y")], {400}),
    ([("Content-Type", "application/json"), ("X-Big", "a" * 6_000)], {200, 400, 431}),
    ([("Content-Type", "application/json"), *((f"X-{i}", "a") for i in range(300))], {200, 400, 431}),
]
METHODS = ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "BREW", "HEAD"]
RAW = [
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999999999999\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    b"GET /v1/models HTTP/1.1\nHost: localhost\n\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"a" * 200_000 + b"\r\n\r\n",
    b"A" * 100_000,
]  # fmt: skip


def in_shape(answer: httpx.Response) -> bool:
    if answer.status_code < 400:
        return True
    error = answer.json()["error"]
    return set(error) == {"message", "type", "param", "code"} and isinstance(error["message"], str)


def test_two_hundred_hostile_requests(url: str) -> None:
    sent = 0
    with httpx.Client(base_url=url, timeout=10) as http:
        for name, body, right in bodies():
            answer = http.post(CHAT, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in right, (name, answer.status_code, answer.text[:200])
            assert in_shape(answer), (name, answer.text[:200])
            sent += 1
        for headers, right in HEADERS:
            answer = http.post(CHAT, content=json.dumps(talk()).encode(), headers=headers)
            assert answer.status_code in right, (headers[:2], answer.status_code, answer.text[:200])
            sent += 1
        for method in METHODS:
            answer = http.request(method, CHAT)
            assert answer.status_code in (400, 405, 415), (method, answer.status_code)
            sent += 1
    host, port = url.removeprefix("http://").split(":")
    lines = [f"GET {p} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode() for p in PATHS]
    for raw in [*lines, *RAW]:
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            head = b""
            with suppress(ConnectionError):  # a server may hang up on what it does not want to read to the end
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                while block := connection.recv(65536):
                    head += block
        status = head.split(b" ", 2)[1:2]
        assert not status or status[0][:1] in (b"2", b"4"), (raw[:80], head[:200])
        assert b"root:" not in head
        sent += 1
    assert sent >= 200, sent
    health = httpx.get(f"{url}/health").json()
    assert (health["status"], health["running"], health["waiting"]) == ("ok", 0, 0)
    assert httpx.post(url + CHAT, json=talk()).json()["choices"][0]["message"]["content"] == "你好"


def test_a_body_that_never_ends_is_given_up(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head)
        assert b" 408 " in connection.recv(65536)


def test_what_was_typed_does_not_come_back_in_an_error(url: str) -> None:
    secret = "my-secret-words"
    for body in (
        talk(secret, temperature=secret),
        talk(secret, n=2),
        talk({"text": secret}),
        talk(secret, stop=[secret * 9]),
    ):
        answer = httpx.post(url + CHAT, json=body)
        assert answer.status_code == 400
        assert secret not in answer.text
