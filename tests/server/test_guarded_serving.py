"""The guard, its notices and its memory behind the API."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from live import live

from hearmeglm.chat.model import Chunk
from hearmeglm.chat.notices import PAUSE_S, Clock, Consent, without_notices
from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.chat.sessions import SessionStore, session_id
from hearmeglm.errors import UserError
from hearmeglm.recipe import Sampling
from hearmeglm.safety.guard import Guard
from hearmeglm.safety.policy import CHECKLIST, Policy, notice
from hearmeglm.safety.replies import reply
from hearmeglm.server import app
from hearmeglm.server.app import Serving
from hearmeglm.server.auth import KeyFile
from hearmeglm.server.opening import Opening
from hearmeglm.types import Message

DANGER = "我今晚就想自杀，药已经准备好了"
QUIET = Policy(notice_at_start=False)  # type: ignore[call-arg]
MODEL = ScriptedModel(["听起来你今天过得不容易。"], name="m")


def say(url: str, *texts: str, key: str = "", **headers: str) -> str:
    """Ask with the texts as the client's turns; returns the reply."""
    messages: list[dict[str, str]] = []
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "嗯。"}]
    head = {k.replace("_", "-"): v for k, v in headers.items()} | ({"Authorization": f"Bearer {key}"} if key else {})
    answer = httpx.post(f"{url}/v1/chat/completions", json={"model": "m", "messages": messages[:-1]}, headers=head)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def test_danger_gets_the_written_reply_with_the_numbers_of_the_region() -> None:
    with live(Serving(MODEL, QUIET)) as url:
        assert "12356" in say(url, DANGER)
        assert "1925" in say(url, DANGER, X_Region="TW")
        assert say(url, "今天有点累") == "听起来你今天过得不容易。"
        assert 'hearme_guard_total{level="imminent",reply="written"} 2' in httpx.get(f"{url}/metrics").text


def test_without_a_session_the_whole_history_is_assessed() -> None:
    with live(Serving(MODEL, QUIET)) as url:
        assert "12356" in say(url, DANGER, "没事了，聊点别的吧")
        assert "12356" not in say(url, "今天有点累", "没事了，聊点别的吧")


def test_a_session_remembers_danger_across_requests_and_restarts_and_others_do_not(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with live(Serving(MODEL, QUIET, store=SessionStore(path))) as url:
        say(url, DANGER, X_Session_Id="a")
        assert "12356" in say(url, "聊点别的吧", X_Session_Id="a")
        assert "12356" not in say(url, "聊点别的吧", X_Session_Id="b")
    with live(Serving(MODEL, QUIET, store=SessionStore(path))) as url:
        assert "12356" in say(url, "又来了", X_Session_Id="a")
        assert "12356" not in say(url, "又来了", X_Session_Id="b")
    with SessionStore(path) as store:
        kept = [m.content for m in store.messages(session_id("a"))]
        assert kept[::2] == [DANGER, "聊点别的吧", "又来了"]
        assert DANGER not in json.dumps(store.state(session_id("a")), ensure_ascii=False)


@pytest.mark.parametrize("text", ["今天有点累", DANGER])
def test_a_reply_nobody_waits_for_ends_although_the_guard_holds_it_back(text: str) -> None:
    ended = threading.Event()

    class Endless:
        name = "m"

        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            try:
                while True:
                    time.sleep(0.01)
                    yield Chunk("嗯")
            finally:
                ended.set()

    with live(Serving(Endless(), QUIET)) as url:
        talk = [
            {"role": "user", "content": text},
            {"role": "assistant", "content": reply("suicide", "CN", "zh")},
            {"role": "user", "content": "在吗"},
        ]
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json={"model": "m", "messages": talk}, timeout=0.5)
        assert ended.wait(2)


def test_two_keys_never_share_a_session(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    one, two = keys.create("one"), keys.create("two")
    with live(Serving(MODEL, QUIET, keys=keys)) as url:
        say(url, DANGER, key=one, X_Session_Id="same")
        assert "12356" in say(url, "你好呀", key=one, X_Session_Id="same")
        assert "12356" not in say(url, "你好呀", key=two, X_Session_Id="same")


def test_the_ai_notice_opens_a_talk_and_does_not_reach_the_model() -> None:
    seen: list[str] = []

    def listen(messages: Any) -> str:
        seen.extend(m.content for m in messages)
        return "好。"

    start = notice("start", "CN", "zh")
    with live(Serving(ScriptedModel(listen, name="m"), Policy())) as url:  # type: ignore[call-arg]
        first = say(url, "你好")
        assert first == f"{start}\n\n好。"
        talk = [
            {"role": "user", "content": "你好"},
            {"role": "assistant", "content": first},
            {"role": "user", "content": "在吗"},
        ]
        answer = httpx.post(f"{url}/v1/chat/completions", json={"model": "m", "messages": talk}).json()
        assert answer["choices"][0]["message"]["content"] == "好。"
    assert seen == ["你好", "你好", "好。", "在吗"]
    with live(Serving(MODEL, Policy(), notices=False)) as url:  # type: ignore[call-arg]
        assert "AI" not in say(url, "你好")


def test_a_front_end_can_ask_what_to_show_at_first_use(tmp_path: Path) -> None:
    with live(Serving(MODEL, Opening("127.0.0.1", sessions=True).policy(None, 7))) as url:
        zh = httpx.get(f"{url}/v1/disclosure").json()
        en = httpx.get(f"{url}/v1/disclosure", params={"lang": "en"}, headers={"X-Region": "US"}).json()
    assert "保存对话 7 天" in zh["first_use"]
    assert "988" in en["first_use"]
    assert "AI" in en["start"]


def test_the_clock_of_a_talk() -> None:
    policy, clock = Policy(notice_every_minutes=30, break_every_minutes=60), Clock()  # type: ignore[call-arg]
    start, timer, rest = (notice(k, "CN", "zh") for k in ("start", "timer", "break"))
    minutes = {0: [start], 1: [], 29: [], 31: [timer], 50: [], 62: [timer, rest], 63: []}
    for at, due in minutes.items():
        assert clock.due(policy, "嗯", "zh", now=1e9 + 60 * at) == due, at
    clock = Clock.from_json(clock.to_json())
    assert clock.due(policy, "嗯", "zh", now=1e9 + 60 * 63 + PAUSE_S + 1) == [start]
    assert clock.due(policy, "只有你懂我", "zh", now=1e9 + 60 * 63 + PAUSE_S + 2) == [notice("dependence", "CN", "zh")]
    assert without_notices(f"{start}\n\n{rest}\n\n好", policy) == "好"


def test_consent_is_kept_for_exactly_this_text(tmp_path: Path) -> None:
    consent = Consent(tmp_path / "consent.json")
    assert not consent.given("文")
    consent.give("文")
    assert Consent(tmp_path / "consent.json").given("文")
    assert not consent.given("文，改了")


def test_a_damaged_guard_is_closed_and_the_server_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Guard.load(tmp_path)
    for module in ("hearmeglm.chat.guarded", "hearmeglm.server.app", "hearmeglm.server.talks"):
        monkeypatch.setattr(f"{module}.guard", lambda: broken)
    with live(Serving(MODEL, QUIET)) as url:
        assert httpx.get(f"{url}/health").json()["guard"] == "closed"
        assert "不容易" not in say(url, "今天有点累")
        assert "不容易" not in say(url, "今天有点累", X_Session_Id="a")


def test_an_incident_is_logged_without_text_and_a_full_disk_does_not_keep_the_reply(tmp_path: Path) -> None:
    log = tmp_path / "incidents.jsonl"
    policy = QUIET.model_copy(update={"incident_log": str(log)})
    with live(Serving(MODEL, policy)) as url:
        say(url, "今天有点累")
        say(url, DANGER)
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        assert [(r["kind"], r["level"]) for r in rows] == [("suicide", "imminent")]
        assert "自杀" not in log.read_text()
        log.unlink()
        log.mkdir()
        assert "12356" in say(url, DANGER)


def test_it_is_not_opened_to_others_before_everything_is_signed(tmp_path: Path) -> None:
    assert not Opening("127.0.0.1").to_others
    for opening in (Opening("0.0.0.0"), Opening("::"), Opening("192.0.2.1"), Opening("127.0.0.1", behind_proxy=True)):
        assert opening.to_others
        with pytest.raises(UserError, match="expected a policy file, found none"):
            opening.policy(None)
    file = tmp_path / "policy.yaml"
    file.write_text("responsible: {name: 王医生}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"missing: responsible.contact; checklist.clinical_review"):
        Opening("0.0.0.0").policy(file)
    signed = "\n".join(f"  {item}: {{by: 王医生, date: 2026-11-01}}" for item in CHECKLIST)
    file.write_text(
        f"responsible: {{name: 王医生, contact: '+86 10 0000 0000'}}\nchecklist:\n{signed}\n", encoding="utf-8"
    )
    assert Opening("0.0.0.0").policy(file).responsible.name == "王医生"
    with pytest.raises(UserError, match="on this machine only"):
        Opening("0.0.0.0", guard=False).policy(file)
    with pytest.raises(UserError, match="store_sessions: false"):
        Opening("0.0.0.0", sessions=True).policy(file)
    assert Opening("0.0.0.0", backends=("http://gpu.example/v1",)).policy(file).remote_model
    assert not Opening("127.0.0.1", backends=("http://127.0.0.1:1/v1",)).policy(None).remote_model


class Failing(SessionStore):
    """Writes fail while `full` says so."""

    full = True

    def append(self, sid: str, name: str, *messages: Message, state: Any = None, new: bool = True) -> None:
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().append(sid, name, *messages, state=state, new=new)


def test_a_full_disk_keeps_no_reply_from_somebody_in_danger(tmp_path: Path) -> None:
    store = Failing(tmp_path / "s.db")
    with live(Serving(MODEL, QUIET, store=store)) as url:
        assert "12356" in say(url, DANGER, X_Session_Id="a")
        assert "12356" in say(url, "聊点别的吧", X_Session_Id="a")  # remembered here as long as it cannot be there
        body = {"model": "m", "messages": [{"role": "user", "content": "今天有点累"}]}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers={"X-Session-Id": "b"})
        assert answer.status_code == 500  # nothing unkept is acknowledged
        Failing.full = False
        say(url, "再聊聊", X_Session_Id="a")
        assert store.state(session_id("a"))["worst"]["crisis"]


def test_two_requests_of_a_session_at_once_lose_no_danger(tmp_path: Path) -> None:
    both = threading.Event()

    class Slow(SessionStore):
        def append(self, sid: str, name: str, *messages: Message, state: Any = None, new: bool = True) -> None:
            if messages[0].content == "今天还好":
                both.wait(1)
            super().append(sid, name, *messages, state=state, new=new)
            if messages[0].content == DANGER:
                both.set()

    store = Slow(tmp_path / "s.db")
    with live(Serving(MODEL, QUIET, store=store)) as url:
        calm = threading.Thread(target=say, args=(url, "今天还好"), kwargs={"X_Session_Id": "a"})
        calm.start()
        time.sleep(0.3)
        say(url, DANGER, X_Session_Id="a")
        calm.join()
        assert store.state(session_id("a"))["worst"]["level"] == "imminent"


def test_what_was_deleted_does_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with live(Serving(MODEL, QUIET, store=SessionStore(path))) as url:
        say(url, DANGER, X_Session_Id="a")
        with SessionStore(path) as other:
            other.delete(session_id("a"))
        say(url, "你好", X_Session_Id="a")
        with SessionStore(path) as other:
            assert other.state(session_id("a"))["worst"]["level"] == "none"


def test_old_talks_are_deleted_although_it_failed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Locked(SessionStore):
        def purge(self, now: float | None = None) -> int:
            calls.append(1)
            if len(calls) == 2:  # the first is at opening
                raise UserError("another process holds the log open")
            return super().purge(now)

    monkeypatch.setattr(app, "PURGE_S", 0.01)
    with live(Serving(MODEL, QUIET, store=Locked(tmp_path / "s.db"))):
        time.sleep(0.5)
    assert len(calls) > 3


def test_the_disclosure_is_true_without_a_guard_and_with_a_model_elsewhere() -> None:
    told = Opening("127.0.0.1", guard=False, sessions=True, backends=("https://api.example.com/v1",)).policy(None)
    with live(Serving(MODEL, None, told=told)) as url:
        text = httpx.get(f"{url}/v1/disclosure?lang=en").json()["first_use"]
    assert "talks are kept" in text
    assert "runs elsewhere" in text


@pytest.mark.parametrize(
    ("allowed", "consent", "kept"), [(True, "yes", True), (True, "no", False), (False, "yes", False)]
)
def test_an_incident_holds_the_message_only_if_policy_and_client_agree(
    tmp_path: Path, allowed: bool, consent: str, kept: bool
) -> None:
    file = tmp_path / "incidents.jsonl"
    policy = QUIET.model_copy(update={"incident_log": str(file), "incident_text": allowed})
    with live(Serving(MODEL, policy)) as url:
        say(url, DANGER, X_Incident_Consent=consent)
    assert ("text" in json.loads(file.read_text(encoding="utf-8"))) is kept
