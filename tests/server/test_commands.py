"""`hearme chat`, `serve`, `sessions` and `keys` as they are typed."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live import live

from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.chat.sessions import SessionStore, session_id
from hearmeglm.safety.policy import CHECKLIST
from hearmeglm.server.app import Serving
from hearmeglm.types import Message

HEARME = [sys.executable, "-m", "hearmeglm"]


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    """RUN|MODEL of a scripted model behind a real server."""
    with live(Serving(ScriptedModel(lambda m: f"我听到：{m[-1].content} 👩‍👧", name="m"), None)) as url:
        yield f"{url}/v1#m"


def hearme(*args: str, data: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HEARME_DATA": str(data)}
    return subprocess.run(
        [*HEARME, *args], input=stdin, capture_output=True, text=True, encoding="utf-8", env=env, check=False
    )


def test_a_piped_talk_has_no_colours_and_asks_nothing(model: str, tmp_path: Path) -> None:
    done = hearme("chat", model, data=tmp_path, stdin="你好\n/region HK\nstop\n")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "我听到：你好 👩‍👧\n" in done.stdout
    assert done.stdout.startswith("你好，我是Jerry，一个 AI")
    assert "18111" in done.stdout
    assert "不诊断" in done.stderr


def test_a_talk_that_is_kept_goes_on_and_danger_is_remembered(model: str, tmp_path: Path) -> None:
    kept = ["--sessions", str(tmp_path / "s.db"), "--session-key", str(tmp_path / "key")]
    hearme("chat", model, *kept, data=tmp_path, stdin="我今晚就想自杀\n")
    done = hearme("chat", model, *kept, data=tmp_path, stdin="聊点别的\n")
    assert "12356" in done.stdout
    listed = json.loads(hearme("sessions", "list", *kept, "--json", data=tmp_path).stdout)
    assert [(s["name"], s["messages"]) for s in listed] == [("terminal", 4)]


def read_until(handle: int, text: str, seconds: float = 30) -> str:
    out, end = b"", time.monotonic() + seconds
    while text not in out.decode(errors="replace"):
        ready, _, _ = select.select([handle], [], [], max(0.0, end - time.monotonic()))
        assert ready, out.decode(errors="replace")
        out += os.read(handle, 4096)
    return out.decode(errors="replace")  # a read may end in the middle of a character


def test_at_a_terminal_it_asks_once_edits_lines_and_counts_wide_characters(model: str, tmp_path: Path) -> None:
    env = {**os.environ, "HEARME_DATA": str(tmp_path), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    env.pop("NO_COLOR", None)
    for visit in range(2):
        own, other = pty.openpty()
        process = subprocess.Popen([*HEARME, "chat", model], stdin=other, stdout=other, stderr=other, env=env)
        os.close(other)
        if visit == 0:
            shown = read_until(own, "[y/N]")
            assert "不是真人" in shown
            os.write(own, b"y\n")
        assert "不诊断" not in read_until(own, "> ")
        os.write(own, "你很好".encode() + b"\x1b[D\x1b[D\x7f\x05\n")  # left twice, rub out 你, to the end
        reply = read_until(own, "👩‍👧\r\n")
        assert "我听到：很好" in reply
        assert "\x1b[2m你好，我是Jerry" in reply
        os.write(own, b"/edit\n")
        read_until(own, "> ")
        time.sleep(0.3)
        os.write(own, "呀\n".encode())  # added to the words that are offered
        assert "我听到：很好呀" in read_until(own, "👩‍👧\r\n")
        os.write(own, b"stop\n")
        assert process.wait(20) == 0
        os.close(own)


def test_who_does_not_agree_does_not_begin(model: str, tmp_path: Path) -> None:
    own, other = pty.openpty()
    env = {**os.environ, "HEARME_DATA": str(tmp_path)}
    process = subprocess.Popen(
        [*HEARME, "chat", model, "--lang", "en"], stdin=other, stdout=other, stderr=other, env=env
    )
    os.close(other)
    read_until(own, "[y/N]")
    os.write(own, b"\n")
    assert process.wait(20) == 1
    os.close(own)
    assert not (tmp_path / "consent.json").exists()


def test_serve_says_what_is_missing_before_it_opens(model: str, tmp_path: Path) -> None:
    done = hearme("serve", model, "--host", "0.0.0.0", data=tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "expected a policy file, found none" in done.stderr
    assert hearme("serve", model, "--behind-proxy", data=tmp_path).returncode == 2
    assert not (tmp_path / "keys.json").exists()


def test_serve_opened_with_a_signed_policy_shows_a_key_once_survives_kill_9_and_stops_cleanly(
    model: str, tmp_path: Path
) -> None:
    signed = "".join(f"  {item}: {{by: 王医生, date: 2026-11-01}}\n" for item in CHECKLIST)
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"store_sessions: true\nnotice_at_start: true\nresponsible: {{name: 王医生, contact: x}}\nchecklist:\n{signed}",
        encoding="utf-8",
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    store = tmp_path / "s.db"
    args = [
        "serve",
        "--backend",
        model,
        "--port",
        str(port),
        "--behind-proxy",
        "--policy",
        str(policy),
        "--sessions",
        str(store),
    ]
    env = {**os.environ, "HEARME_DATA": str(tmp_path)}
    key, told = "", 0
    for end in (signal.SIGKILL, signal.SIGTERM):
        process = subprocess.Popen([*HEARME, *args], stderr=subprocess.PIPE, text=True, env=env)
        assert process.stderr is not None
        line = process.stderr.readline()
        if not key:
            key = re.search(r"hm-[\w-]{43}", line)[0]  # type: ignore[index]
            line = process.stderr.readline()
        assert "hm-" not in line
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                httpx.get(f"{url}/health")
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        assert httpx.get(f"{url}/v1/models").status_code == 401
        head = {"Authorization": f"Bearer {key}", "X-Session-Id": "a"}
        for _ in range(5):
            body = {"model": "m", "messages": [{"role": "user", "content": f"悄悄话{told}"}]}
            assert httpx.post(f"{url}/v1/chat/completions", json=body, headers=head).status_code == 200
            told += 1
        process.send_signal(end)
        code = process.wait(30)
        log = process.stderr.read()
        process.stderr.close()
        assert "悄悄话" not in log
    assert code == 0
    assert key not in (tmp_path / "keys.json").read_text()
    with SessionStore(store) as kept:
        talk = kept.messages(session_id("a", "first"))
    assert [m.content for m in talk if m.role == "user"] == [f"悄悄话{i}" for i in range(10)]
    assert len(talk) == 20


def test_sessions_are_listed_exported_and_deleted(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    with SessionStore(store) as kept:
        kept.append("a" * 32, "小王", Message("user", "needle"))
        kept.append("b" * 32, "小李", Message("user", "other"))
    assert "小王" in hearme("sessions", "list", "--sessions", str(store), data=tmp_path).stdout
    out = tmp_path / "out.json"
    hearme("sessions", "export", "a" * 32, "--sessions", str(store), "--out", str(out), data=tmp_path)
    assert json.loads(out.read_text(encoding="utf-8"))[0]["messages"][0]["content"] == "needle"
    assert out.stat().st_mode & 0o777 == 0o600
    done = hearme("sessions", "delete", "a" * 32, "--sessions", str(store), "--json", data=tmp_path)
    assert json.loads(done.stdout) == {"deleted": 1}
    assert b"needle" not in b"".join(p.read_bytes() for p in tmp_path.glob("s.db*"))
    assert hearme("sessions", "delete", "--sessions", str(store), data=tmp_path).returncode == 2
    assert hearme("sessions", "list", "--sessions", str(tmp_path / "no.db"), data=tmp_path).returncode == 2


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    assert hearme("keys", "create", "王", data=tmp_path).stdout.startswith("hm-")
    assert [k["name"] for k in json.loads(hearme("keys", "list", "--json", data=tmp_path).stdout)] == ["王"]
    assert hearme("keys", "create", "王", data=tmp_path).returncode == 2
    assert hearme("keys", "revoke", "王", data=tmp_path).returncode == 0
    assert "have: none" in hearme("keys", "revoke", "王", data=tmp_path).stderr
