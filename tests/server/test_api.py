"""The API as the official `openai` client sees it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from live import live

from hearmeglm.chat.model import Chunk
from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.errors import ModelError
from hearmeglm.recipe import Sampling
from hearmeglm.safety.policy import Policy
from hearmeglm.server.app import Serving
from hearmeglm.server.auth import KeyFile
from hearmeglm.server.errors import ApiError
from hearmeglm.server.limits import Limits
from hearmeglm.server.schema import ChatRequest
from hearmeglm.types import Message

HELLO = [{"role": "user", "content": "你好"}]


class SlowModel:
    """Speaks a word every hundredth of a second and tells when it is stopped."""

    name = "slow"

    def __init__(self, words: int = 1000) -> None:
        self.words, self.started, self.stopped = words, threading.Event(), threading.Event()

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        self.started.set()
        try:
            for _ in range(self.words):
                time.sleep(0.01)
                yield Chunk("嗯")
            yield Chunk("", 0, "stop")
        finally:
            self.stopped.set()


def client(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=20)


@pytest.fixture
def echo() -> Iterator[str]:
    with live(Serving(ScriptedModel(lambda m: f"我听到：{m[-1].content} 🌱", name="echo"), None)) as url:
        yield url


def test_round_trip(echo: str) -> None:
    with client(echo) as api:
        assert [m.id for m in api.models.list()] == ["echo"]
        assert api.models.retrieve("echo").owned_by == "hearmeglm"
        answer = api.chat.completions.create(model="echo", messages=HELLO)
    assert answer.choices[0].message.content == "我听到：你好 🌱"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    counted = (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens)
    assert counted == (2, 8, 10)  # the scripted model counts characters


def test_streamed_pieces_are_the_whole_reply(echo: str) -> None:
    with client(echo) as api:
        stream = api.chat.completions.create(
            model="echo", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "我听到：你好 🌱"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (2, 8)


def test_what_the_prompt_took_is_told_through_the_guard_and_is_nothing_where_no_model_was_asked() -> None:
    with live(Serving(ScriptedModel(["好呀。"], name="m"), Policy(), notices=False)) as url, client(url) as api:
        everyday = api.chat.completions.create(model="m", messages=HELLO)
        crisis = api.chat.completions.create(model="m", messages=[{"role": "user", "content": "我想自杀"}])
    assert everyday.usage is not None
    assert crisis.usage is not None
    assert (everyday.usage.prompt_tokens, everyday.usage.completion_tokens) == (2, 3)
    assert (crisis.usage.prompt_tokens, crisis.usage.completion_tokens) == (0, 0)


def test_max_tokens_and_content_parts_are_obeyed(echo: str) -> None:
    with client(echo) as api:
        parts = [{"role": "user", "content": [{"type": "text", "text": "你好"}]}]
        answer = api.chat.completions.create(model="echo", messages=parts, max_tokens=3)  # type: ignore[arg-type]
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("我听到", "length")


@pytest.mark.parametrize("stream", [True, False])
def test_the_reply_ends_when_the_client_leaves(stream: bool) -> None:
    model = SlowModel()
    with live(Serving(model, None)) as url:
        if stream:
            with client(url) as api:
                answer = api.chat.completions.create(model="slow", messages=HELLO, stream=True)
                next(answer)
                answer.close()
        else:
            body = {"model": "slow", "messages": HELLO}
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{url}/v1/chat/completions", json=body, timeout=0.3)
        assert model.stopped.wait(2)
        time.sleep(0.2)
        assert httpx.get(f"{url}/health").json()["running"] == 0
        assert "hearme_cancelled_total 1" in httpx.get(f"{url}/metrics").text


def test_a_full_queue_says_when_to_come_back() -> None:
    model = SlowModel(words=60)
    with live(Serving(model, None, Limits(running=1, waiting=1))) as url:
        with ThreadPoolExecutor(6) as pool:
            body = {"model": "slow", "messages": HELLO}
            answers = list(pool.map(lambda _: httpx.post(f"{url}/v1/chat/completions", json=body), range(6)))
        assert sorted(a.status_code for a in answers) == [200, 200, 429, 429, 429, 429]
        refused = next(a for a in answers if a.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "rate_limit_error"


def test_keys_are_needed_and_limited_each_for_itself(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    one, two = keys.create("one"), keys.create("two")
    assert one not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    serving = Serving(ScriptedModel(["好"], name="m"), None, Limits(per_minute=1, burst=2), keys=keys)
    with live(serving) as url:
        with pytest.raises(openai.AuthenticationError), client(url, "hm-wrong") as api:
            api.models.list()
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert httpx.get(f"{url}/nothing").status_code == 401
        assert httpx.get(f"{url}/health").status_code == 200
        with client(url, one) as api:
            api.chat.completions.create(model="m", messages=HELLO)
            api.chat.completions.create(model="m", messages=HELLO)
            with pytest.raises(openai.RateLimitError) as refused:
                api.chat.completions.create(model="m", messages=HELLO)
            assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
        with client(url, two) as api:
            api.chat.completions.create(model="m", messages=HELLO)
        keys.revoke("two")
        with pytest.raises(openai.AuthenticationError), client(url, two) as api:
            api.models.list()


def test_errors_have_openais_shape(echo: str) -> None:
    with client(echo) as api:
        with pytest.raises(openai.NotFoundError) as err:
            api.chat.completions.create(model="gpt-5", messages=HELLO)
        assert err.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as bad:
            api.chat.completions.create(model="echo", messages=HELLO, n=2)
        assert bad.value.param == "n"
        with pytest.raises(openai.BadRequestError) as long:
            api.chat.completions.create(model="echo", messages=[{"role": "user", "content": "长" * 32_001}])
        assert long.value.code == "context_length_exceeded"


class BrokenModel:
    """Fails with the client's words in the message of its error."""

    name = "broken"

    def __init__(self, after: int) -> None:
        self.after = after

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        for _ in range(self.after):
            yield Chunk("嗯")
        raise ValueError(f"cannot read {messages[-1].content}")


@pytest.mark.parametrize(("after", "stream"), [(0, False), (0, True), (2, False), (2, True)])
def test_a_fault_is_an_error_for_the_client_and_no_text_reaches_the_log(
    after: int, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    secret = [{"role": "user", "content": "只有我知道的秘密"}]
    with caplog.at_level(logging.DEBUG), live(Serving(BrokenModel(after), None)) as url, client(url) as api:
        with pytest.raises(openai.APIError):
            list(api.chat.completions.create(model="broken", messages=secret, stream=stream))
        with pytest.raises(openai.APIError):  # the place was given back
            list(api.chat.completions.create(model="broken", messages=secret, stream=stream))
        assert httpx.get(f"{url}/health").json()["running"] == 0
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith(("openai", "httpcore", "httpx"))]
    assert any("ValueError at test_api.py" in line for line in ours)
    assert not any("秘密" in line for line in ours)


def test_a_model_that_cannot_be_reached_is_502() -> None:
    class Away:
        name = "away"

        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            raise ModelError("the server cannot be reached")
            yield

    with live(Serving(Away(), None)) as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json={"model": "away", "messages": HELLO})
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "model_unavailable")


def test_sixteen_clients_never_see_each_others_words() -> None:
    def say(messages: Sequence[Message]) -> str:
        time.sleep(0.01)
        return messages[-1].content

    serving = Serving(ScriptedModel(say, name="m"), None, Limits(running=6, waiting=64))
    with live(serving) as url:

        def one(number: int) -> bool:
            with client(url) as api:
                for turn in range(4):
                    token = f"token-{number}-{turn}"
                    stream = api.chat.completions.create(
                        model="m", messages=[{"role": "user", "content": token}], stream=True
                    )
                    if "".join(c.choices[0].delta.content or "" for c in stream) != token:
                        return False
            return True

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(one, range(16)))


def test_no_cors_unless_asked() -> None:
    model = ScriptedModel(["好"], name="m")
    ask = {
        "Origin": "https://a.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-region,x-session-id",
    }
    with live(Serving(model, None)) as url:
        answer = httpx.options(f"{url}/v1/chat/completions", headers=ask)
        assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (405, False)
    with live(Serving(model, None, origins=("https://a.example",))) as url:
        answer = httpx.options(f"{url}/v1/chat/completions", headers=ask)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        other = httpx.get(f"{url}/v1/models", headers={"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers


def test_nothing_is_loaded_from_elsewhere(echo: str) -> None:
    assert httpx.get(f"{echo}/docs").status_code == 404
    assert httpx.get(f"{echo}/redoc").status_code == 404
    assert "/v1/chat/completions" in httpx.get(f"{echo}/openapi.json").json()["paths"]


def test_shutting_down_lets_a_reply_end() -> None:
    model = SlowModel(words=100)
    text: list[str] = []
    with live(Serving(model, None)) as url:

        def talk() -> None:
            with client(url) as api:
                for chunk in api.chat.completions.create(model="slow", messages=HELLO, stream=True):
                    text.append(chunk.choices[0].delta.content or "")

        thread = threading.Thread(target=talk)
        thread.start()
        assert model.started.wait(5)
    thread.join(5)
    assert "".join(text) == "嗯" * 100


def test_a_temperature_that_no_number_format_holds_is_greedy() -> None:
    body = ChatRequest.model_validate(
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 1e-40}
    )
    assert body.sampling(Sampling(), Limits()).temperature == 0


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_too_long_a_reply_is_refused_by_either_name(name: str) -> None:
    asked = {"max_tokens": 1, "max_completion_tokens": 1, name: Limits().new_tokens + 1}
    body = ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "x"}], **asked})
    with pytest.raises(ApiError, match="at most"):
        body.sampling(Sampling(), Limits())
