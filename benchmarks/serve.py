"""Load test of `hearme serve`: 64 clients talk for 3 minutes, each with a session and a token of its own.

    python benchmarks/serve.py                          # the embedded 270M as GGUF
    python benchmarks/serve.py --model RUN --seconds 60

Starts the server on a free loopback port as a user would, with sessions kept, and stops it at the end. A client asks, waits for
the whole stream, asks again; on 429 it waits as `Retry-After` says. Prints one JSON object: answers, refusals, errors, times,
tokens a second, the server's memory over time, and whether any session saw another one's token (in a reply or in what is kept).
Exit code 1 if there was an error other than 429, cross-talk, or memory that grew by more than 10 % after the first third.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ASK = (
    "我的暗号是 {token}，请记住。今天有点累。",
    "请重复一遍我的暗号。",
    "My code word is {token}. Repeat it, please.",
    "最近睡得不太好，{token}。",
)
TOKEN = re.compile(r"zq[0-9a-f]{8}")


@dataclass
class Tally:
    answers: int = 0
    refused: int = 0
    tokens: int = 0
    errors: list[str] = field(default_factory=list)
    foreign: int = 0
    garbled: int = 0
    own: int = 0
    first_s: list[float] = field(default_factory=list)
    total_s: list[float] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)


async def client(
    http: httpx.AsyncClient, model: str, token: str, others: set[str], end: float, length: int, tally: Tally
) -> None:
    """One person: a talk of at most eight exchanges, then a new one in the same session."""
    talk: list[dict[str, str]] = []
    turn = 0
    while time.monotonic() < end:
        if len(talk) >= 16:
            talk.clear()
        talk.append({"role": "user", "content": ASK[turn % len(ASK)].format(token=token)})
        turn += 1
        body = {"model": model, "messages": talk, "stream": True, "max_tokens": length}
        begun, first, said, done = time.monotonic(), 0.0, "", False
        try:
            async with http.stream(
                "POST", "/v1/chat/completions", json=body, headers={"X-Session-Id": token}
            ) as answer:
                if answer.status_code == 429:
                    tally.refused += 1
                    talk.pop()
                    await asyncio.sleep(min(float(answer.headers["retry-after"]), 20))
                    continue
                if answer.status_code != 200:
                    tally.errors.append(f"{answer.status_code} {(await answer.aread())[:200]!r}")
                    talk.pop()
                    continue
                async for line in answer.aiter_lines():
                    if line == "data: [DONE]":
                        done = True
                    elif line.startswith("data: "):
                        event = json.loads(line[6:])
                        if "error" in event:
                            tally.errors.append(str(event["error"]))
                            break
                        piece = event["choices"][0]["delta"].get("content") or ""
                        if piece:
                            first = first or time.monotonic()
                            tally.tokens += 1
                            said += piece
        except httpx.HTTPError as err:
            tally.errors.append(f"{type(err).__name__}: {err}")
            talk.pop()
            continue
        if not done:
            tally.errors.append("a stream ended without [DONE]")
        found = set(TOKEN.findall(said))
        tally.foreign += bool(found & others)
        tally.garbled += bool(found - others - {token})
        tally.own += token in found
        tally.answers += 1
        tally.first_s.append((first or time.monotonic()) - begun)
        tally.total_s.append(time.monotonic() - begun)
        talk.append({"role": "assistant", "content": said or "…"})


def memory_mib(pid: int) -> float:
    """Resident memory of a process, in MiB (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


async def watch(pid: int, end: float, tally: Tally) -> None:
    while time.monotonic() < end:
        tally.memory_mib.append(memory_mib(pid))
        await asyncio.sleep(5)


async def load(url: str, model: str, tokens: list[str], seconds: float, length: int, pid: int) -> Tally:
    tally = Tally()
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=len(tokens) + 4)
    async with httpx.AsyncClient(base_url=url, timeout=330, limits=limits, trust_env=False) as http:
        await asyncio.gather(
            watch(pid, end, tally), *(client(http, model, t, set(tokens) - {t}, end, length, tally) for t in tokens)
        )
    tally.memory_mib.append(memory_mib(pid))
    return tally


def kept_apart(store: Path, tokens: list[str]) -> int:
    """How many kept talks hold another session's token."""
    from hearmeglm.chat.sessions import SessionStore

    with SessionStore(store) as kept:
        found = [(s.name, {t for m in kept.messages(s.id) for t in TOKEN.findall(m.content)}) for s in kept.all()]
    assert {name for name, _ in found} <= set(tokens)
    return sum(bool(held & (set(tokens) - {name})) for name, held in found)


def percentiles(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100) if len(times) > 1 else [0.0] * 99
    return {"p50": round(cuts[49], 2), "p95": round(cuts[94], 2), "max": round(max(times, default=0.0), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="RUN|MODEL; default: the embedded base as GGUF")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--users", type=int, default=8, help="replies at the same time in the server")
    parser.add_argument(
        "--waiting", type=int, default=40, help="queue of the server; below clients - users there are 429s"
    )
    parser.add_argument("--tokens", type=int, default=48, help="longest reply")
    parser.add_argument("--no-guard", action="store_true")
    options = parser.parse_args()
    model = options.model
    if model is None:
        from hearmeglm.models.starter import starter_gguf

        model = str(starter_gguf())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "sessions.db"
        command = [sys.executable, "-m", "hearmeglm", "serve", model, "--port", str(port), "--sessions", str(store)]
        command += ["--users", str(options.users), "--waiting", str(options.waiting), "--context", "1024"]
        command += ["--no-guard"] if options.no_guard else []
        with open(Path(folder) / "log", "wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        try:
            begun = time.monotonic()
            while True:
                try:
                    name = httpx.get(f"{url}/health", trust_env=False).json()["model"]
                    break
                except httpx.HTTPError:
                    if server.poll() is not None or time.monotonic() - begun > 180:
                        sys.exit((Path(folder) / "log").read_text())
                    time.sleep(0.5)
            start_s = time.monotonic() - begun
            tokens = [f"zq{secrets.token_hex(4)}" for _ in range(options.clients)]
            tally = asyncio.run(load(url, name, tokens, options.seconds, options.tokens, server.pid))
            metrics = httpx.get(f"{url}/metrics", trust_env=False).text
        finally:
            stopping = time.monotonic()
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
            stop_s = time.monotonic() - stopping
        logged = (Path(folder) / "log").read_text()
        foreign_kept = kept_apart(store, tokens)
    third = tally.memory_mib[len(tally.memory_mib) // 3]
    growth = tally.memory_mib[-1] / third - 1
    leaked = any(t in logged for t in tokens)
    print(
        json.dumps(
            {
                "model": name,
                "guard": not options.no_guard,
                "clients": options.clients,
                "seconds": options.seconds,
                "users": options.users,
                "load_average": os.getloadavg(),
                "answers": tally.answers,
                "refused_429": tally.refused,
                "errors": len(tally.errors),
                "first_errors": tally.errors[:3],
                "pieces_per_s": round(tally.tokens / options.seconds, 1),
                "answers_per_s": round(tally.answers / options.seconds, 2),
                "first_piece_s": percentiles(tally.first_s),
                "whole_reply_s": percentiles(tally.total_s),
                "replies_with_own_token": tally.own,
                "replies_with_foreign_token": tally.foreign,
                "replies_with_a_token_of_nobody": tally.garbled,
                "kept_talks_with_foreign_token": foreign_kept,
                "text_in_log": leaked,
                "memory_mib": {
                    "first": round(tally.memory_mib[0]),
                    "after_a_third": round(third),
                    "last": round(tally.memory_mib[-1]),
                    "max": round(max(tally.memory_mib)),
                    "every_30_s": [round(m) for m in tally.memory_mib[::6]],
                },
                "start_s": round(start_s, 1),
                "stop_s": round(stop_s, 1),
                "exit_code": code,
                "guard_levels": re.findall(r'hearme_guard_total\{level="(\w+)",reply="(\w+)"\} (\d+)', metrics),
            },
            ensure_ascii=False,
            indent=2,
        )
    )
    sys.exit(bool(tally.errors or tally.foreign or foreign_kept or leaked or growth > 0.1 or code))


if __name__ == "__main__":
    main()
