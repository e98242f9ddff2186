from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hearmeglm.chat.sessions import KeptTalk, SessionStore, read_key, session_id
from hearmeglm.errors import DataError, UserError
from hearmeglm.safety.policy import Policy
from hearmeglm.types import Message

SAID = "一句只在这里出现的话 needle"
STATE = {"worst": {"level": "high"}, "signs": {}, "turns": 1}


def user(text: str) -> Message:
    return Message("user", text)


def on_disk(path: Path) -> bytes:
    """Every byte of the database and its logs."""
    return b"".join(p.read_bytes() for p in path.parent.glob(path.name + "*"))


def test_a_talk_outlives_the_process(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "s.db")
    store.append("a", "小王", user("你好"), Message("assistant", "在呢 🌱"), state=STATE)
    store.append("b", "other", user("hi"))
    store.close()
    again = SessionStore(tmp_path / "s.db")
    assert [m.content for m in again.messages("a")] == ["你好", "在呢 🌱"]
    assert again.state("a") == STATE
    assert again.state("b") is None
    assert [(s.name, s.messages) for s in sorted(again.all(), key=lambda s: s.id)] == [("小王", 2), ("other", 1)]
    export = again.export("a")
    assert [m["content"] for m in export["messages"]] == ["你好", "在呢 🌱"]
    assert export["guard"] == STATE
    again.close()


def test_the_file_is_for_its_owner_only_and_two_owners_never_share(tmp_path: Path) -> None:
    SessionStore(tmp_path / "s.db").close()
    assert (tmp_path / "s.db").stat().st_mode & 0o077 == 0
    assert session_id("same", "one") != session_id("same", "two")
    assert session_id("b", "a") != session_id("", "ab")


@pytest.mark.parametrize("encrypted", [False, True])
def test_deleted_is_gone_from_every_byte(tmp_path: Path, encrypted: bool) -> None:
    path = tmp_path / "s.db"
    store = SessionStore(path, key=read_key(tmp_path / "key") if encrypted else None)
    for turn in range(40):  # interleaved, long and short, so that pages are shared, split and rebuilt
        for who in range(12):
            store.append(str(who), f"name{who}", user(f"{SAID} {who} " * (1 + 60 * (turn % 7 == who % 7))), state=STATE)
    assert (SAID.encode() in on_disk(path)) is not encrypted
    assert store.delete(*(str(who) for who in range(11))) == 11
    left = on_disk(path)
    for who in range(11):
        assert f"{SAID} {who} ".encode() not in left
        assert f"name{who}\n".encode() not in left
    assert len(store.messages("11")) == 40
    assert store.delete("11", "unknown") == 1
    assert b"needle" not in on_disk(path)
    assert store.all() == []
    store.close()


def test_a_trimmed_talk_keeps_its_beginning_and_its_guard_state(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "s.db")
    talk = KeptTalk(store, "me")
    talk.add(user("早"), STATE)
    talk.add(user(SAID))
    talk.trim(1)
    assert [m.content for m in talk.messages()] == ["早"]
    assert talk.state() == STATE
    assert SAID.encode() not in on_disk(tmp_path / "s.db")
    store.close()


def test_old_talks_leave_by_themselves(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "s.db", retention_days=30)
    store.append("a", "a", user(SAID))
    assert store.purge(time.time() + 29 * 86_400) == 0
    assert store.purge(time.time() + 31 * 86_400) == 1
    assert SAID.encode() not in on_disk(tmp_path / "s.db")
    store.close()
    reopened = SessionStore(tmp_path / "s.db")
    assert reopened.retention_days == 30
    reopened.close()


def test_old_messages_leave_a_talk_that_stays_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SessionStore(tmp_path / "s.db", retention_days=30) as store:
        before = time.time() - 31 * 86_400
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: before)
            store.append("a", "a", user(SAID), state=STATE)
        store.append("a", "a", user("今天"))
        assert store.purge() == 0
        assert [m.content for m in store.messages("a")] == ["今天"]
        assert store.state("a") == STATE
        assert SAID.encode() not in on_disk(tmp_path / "s.db")


def test_a_reply_under_way_does_not_bring_a_deleted_talk_back(tmp_path: Path) -> None:
    with SessionStore(tmp_path / "s.db") as store:
        talk = KeptTalk(store, "me")
        talk.add(user(SAID), STATE)
        store.delete(talk.id)
        talk.add(Message("assistant", "在呢"), STATE)
        store.append(talk.id, "me", Message("assistant", "在呢"), new=False)
        assert store.all() == []
        store.append(talk.id, "me", user("又来了"))
        store.append(talk.id, "me", Message("assistant", "在呢"), new=False)
        assert len(talk.messages()) == 2


@pytest.mark.parametrize("again", ["delete", "purge", "open"])
def test_a_log_that_could_not_be_wiped_is_wiped_the_next_time(
    tmp_path: Path, again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.db"
    monkeypatch.setattr("hearmeglm.chat.sessions.BUSY_MS", 100)
    store = SessionStore(path)
    store.append("a", "a", user(SAID))
    with sqlite3.connect(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM messages").fetchall()  # holds the log open
        with pytest.raises(UserError, match="another process"):
            store.delete("a")
        SessionStore(path).close()  # which keeps nobody from opening the file
    assert SAID.encode() in on_disk(path)
    reader.rollback()
    if again == "open":
        SessionStore(path).close()
    else:
        assert (store.delete("a") if again == "delete" else store.purge()) == 0
    assert SAID.encode() not in on_disk(path)
    reader.close()
    store.close()


def test_a_new_key_is_on_the_disk_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))
    )
    read_key(tmp_path / "key")
    read_key(tmp_path / "key")
    assert synced == [str(tmp_path / "key"), str(tmp_path)]


def test_a_key_is_needed_and_the_right_one(tmp_path: Path) -> None:
    key = read_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    assert read_key(tmp_path / "key") == key
    store = SessionStore(tmp_path / "s.db", key=key)
    store.append("a", "小王", user(SAID), state=STATE)
    assert store.messages("a")[0].content == SAID
    for plain in (SAID, "小王", "worst"):
        assert plain.encode() not in on_disk(tmp_path / "s.db")
    store.close()
    with pytest.raises(UserError, match="found no key"):
        SessionStore(tmp_path / "s.db")
    with pytest.raises(UserError, match="found another key"):
        SessionStore(tmp_path / "s.db", key=read_key(tmp_path / "second"))
    with pytest.raises(UserError, match="44 characters"):
        SessionStore(tmp_path / "t.db", key=b"short")
    SessionStore(tmp_path / "plain.db").close()
    with pytest.raises(UserError, match="plain file"):
        SessionStore(tmp_path / "plain.db", key=key)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("not a database" * 100)
    with pytest.raises(DataError, match="expected a session database"):
        SessionStore(tmp_path / "s.db")
    with pytest.raises(UserError, match="sessions list"):
        SessionStore(tmp_path / "t.db").export("nobody")


WRITER = """
import sys
from pathlib import Path
from hearmeglm.chat.sessions import SessionStore
from hearmeglm.types import Message
store = SessionStore(Path(sys.argv[1]))
for i in range(int(sys.argv[2]), 10**9):
    store.append(f"s{i % 3}", "n", Message("user", f"m{i}"), state={"turns": i})
    print(i, flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    last = -1
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(last + 1)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(25):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        tail = process.stdout.read().split()  # acknowledged before the signal arrived
        process.wait()
        process.stdout.close()
        last = int(tail[-1]) if tail else last
        store = SessionStore(path)
        kept = {m.content for s in store.all() for m in store.messages(s.id)}
        assert {f"m{i}" for i in range(last + 1)} <= kept
        assert store.state(f"s{last % 3}")["turns"] >= last
        last = max(last, *(int(m[1:]) for m in kept))
        store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_a_file_keeps_the_retention_it_was_set_to(tmp_path: Path) -> None:
    with SessionStore(tmp_path / "s.db", retention_days=365) as store:
        store.append("a", "a", user(SAID))
    with SessionStore(tmp_path / "s.db", at_first=30) as store:
        assert store.retention_days == 365
    with SessionStore(tmp_path / "new.db", at_first=30) as store:
        assert store.retention_days == 30
    assert Policy().retention is None  # type: ignore[call-arg]
    assert Policy(retention_days=30).retention == 30  # type: ignore[call-arg]


CLOSED_BESIDE = """
import sys
from pathlib import Path
from threading import Thread
from hearmeglm.chat.sessions import SessionStore

def read(store):
    try:
        while True:
            store.retention_days
    except Exception as err:
        assert "closed" in str(err), err

for n in range(100):
    store = SessionStore(Path(sys.argv[1]) / f"{n}.db", retention_days=1)
    readers = [Thread(target=read, args=(store,)) for _ in range(2)]
    for reader in readers:
        reader.start()
    store.close()
    for reader in readers:
        reader.join()
"""


def test_a_store_closed_beside_its_readers_does_not_crash_the_process(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CLOSED_BESIDE, str(tmp_path)], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
