"""What goes wrong behind a reply: model, session, backend, the end of the server. Nobody in danger gets an error for it."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from live import live
from test_guarded_serving import DANGER, MODEL, QUIET, say

from hearmeglm.chat.model import Chunk
from hearmeglm.chat.notices import Clock
from hearmeglm.chat.remote_model import Overloaded
from hearmeglm.chat.sessions import SessionStore, session_id
from hearmeglm.errors import ModelError
from hearmeglm.recipe import Sampling
from hearmeglm.safety.guard import guard
from hearmeglm.server import app
from hearmeglm.server.app import Serving
from hearmeglm.server.limits import Limits
from hearmeglm.server.replies import Stoppable
from hearmeglm.types import Message

CALM = {"model": "m", "messages": [{"role": "user", "content": "今天有点累"}]}


def until(true: Callable[[], bool]) -> None:
    """Wait for it, up to ten seconds; a machine may be busy."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


class Raising:
    """Fails with an error of any kind."""

    name = "m"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        raise self.error
        yield


@pytest.mark.parametrize(
    ("error", "kept"), [(KeyError("x"), ModelError), (ModelError("x"), ModelError), (Overloaded("x", 7), Overloaded)]
)
def test_a_fault_of_the_model_is_a_model_error(error: Exception, kept: type[ModelError]) -> None:
    with pytest.raises(ModelError) as err:
        list(Stoppable(Raising(error), threading.Event()).stream([], Sampling()))
    assert type(err.value) is kept


@pytest.mark.parametrize("error", [KeyError("x"), ModelError("x"), Overloaded("x", 7)])
def test_in_danger_a_model_that_fails_is_answered_for(error: Exception) -> None:
    with live(Serving(Raising(error), QUIET)) as url:
        say(url, DANGER, X_Session_Id="a")
        assert "12356" in say(url, "聊点别的吧", X_Session_Id="a")


@pytest.mark.parametrize(
    ("error", "status"), [(KeyError("secret"), 502), (ModelError("secret"), 502), (Overloaded("busy", 7), 429)]
)
def test_the_log_names_the_place_of_every_fault_and_no_text(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "hearmeglm.server"), live(Serving(Raising(error), None)) as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json=CALM)
    assert answer.status_code == status
    assert status != 429 or answer.headers["retry-after"] == "7"
    lines = [r.getMessage() for r in caplog.records if r.name == "hearmeglm.server"]
    assert any("test_faults.py:" in line for line in lines) is (status >= 500)
    assert not any("secret" in line for line in lines)


@pytest.mark.parametrize("fault", ["json", "clock", "notices", "locked"])
def test_a_session_that_cannot_be_read_is_taken_for_a_crisis_and_gets_an_answer(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.db"
    with live(Serving(MODEL, QUIET, store=SessionStore(path))) as url:
        say(url, "今天有点累", X_Session_Id="a")
        if fault == "notices":
            monkeypatch.setattr(Clock, "due", lambda *_: 1 / 0)
        elif fault == "locked":
            monkeypatch.setattr(SessionStore, "state", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError))
        else:
            damaged = "{" if fault == "json" else SessionStore(path).state(session_id("a")) | {"clock": {"x": 1}}
            with sqlite3.connect(path) as db:
                db.execute("UPDATE sessions SET state = ?", (str(damaged).replace("'", '"').encode(),))
            db.close()
        assert "12356" in say(url, "在吗", X_Session_Id="a")
        assert "12356" in say(url, "在吗", X_Session_Id="a")


def test_nobody_s_answer_is_kept_where_the_client_left_in_danger(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "s.db")
    model = Hanging(60)
    with live(Serving(model, QUIET, store=store)) as url:
        say(url, DANGER, X_Session_Id="a")
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json=CALM, headers={"X-Session-Id": "a"}, timeout=1)
        until(lambda: "hearme_cancelled_total 1" in httpx.get(f"{url}/metrics").text)
        model.closed.set()
    with SessionStore(tmp_path / "s.db") as again:
        assert [m.role for m in again.messages(session_id("a"))] == ["user", "assistant", "user"]


@pytest.mark.parametrize("leaves", [False, True])
def test_what_the_guard_heard_is_kept_although_no_reply_came(tmp_path: Path, leaves: bool) -> None:
    class Slow:
        name = "m"

        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            for _ in range(20):
                time.sleep(0.1)
                yield Chunk("嗯")
            raise ModelError("gone")

    store = SessionStore(tmp_path / "s.db")
    with live(Serving(Slow(), QUIET, store=store)) as url:
        with suppress(httpx.ReadTimeout):
            httpx.post(
                f"{url}/v1/chat/completions", json=CALM, headers={"X-Session-Id": "a"}, timeout=1 if leaves else 20
            )
        until(lambda: bool(store.all()))
        assert [m.content for m in store.messages(session_id("a"))] == ["今天有点累"]
        assert store.state(session_id("a"))["turns"] == 1


class Hanging:
    """Says nothing until it is closed, then so many pieces."""

    name = "m"

    def __init__(self, says: int = 0) -> None:
        self.begun, self.closed, self.says = threading.Event(), threading.Event(), says

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        self.begun.set()
        self.closed.wait(60)
        yield from [Chunk("嗯")] * self.says
        raise ModelError("closed")


@pytest.mark.parametrize("closes", [True, False])
def test_the_server_ends_although_a_reply_hangs(closes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "END_S", 9.0 if closes else 0.2, raising=False)
    model = Hanging()
    if closes:
        model.close = model.closed.set  # type: ignore[attr-defined]
    with live(Serving(model, None)) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json=CALM, timeout=1)
        assert model.begun.is_set()
        begun = time.monotonic()
    took = time.monotonic() - begun
    assert model.closed.is_set() is closes
    model.closed.set()
    assert took < 8


def test_health_says_when_the_model_based_layer_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = SimpleNamespace(why="")
    the_guard = SimpleNamespace(broken="", listener=heard, prepare=guard().prepare)
    monkeypatch.setattr(app, "guard", lambda: the_guard)
    with live(Serving(MODEL, QUIET)) as url:
        assert httpx.get(f"{url}/health").json()["guard"] == "on"
        heard.why = "no base"
        assert httpx.get(f"{url}/health").json()["guard"] == "degraded"
        the_guard.broken = "zh.yaml"
        assert httpx.get(f"{url}/health").json()["guard"] == "closed"


def test_the_reply_to_a_talk_deleted_meanwhile_is_not_kept(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "s.db")

    class Deleting:
        name = "m"

        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            yield Chunk("嗯。")
            store.delete(session_id("a"))
            yield Chunk("好。")
            yield Chunk("", 0, "stop")

    with live(Serving(Deleting(), None, Limits(), store=store)) as url:
        httpx.post(f"{url}/v1/chat/completions", json=CALM, headers={"X-Session-Id": "a"})
        assert store.all() == []
