"""Every command of both READMEs is run: word for word, only with a tiny random base and small limits appended where one trains."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from train.tiny import make_base

ROOT = Path(__file__).parents[1]
SMALL = [
    "data.limits.train=4",
    "data.limits.valid=2",
    "data.limits.test=2",
    "evaluation.limit=2",
    "evaluation.sampling.max_new_tokens=4",
]
# Run by CI itself (a test cannot make its own environment), or checked by a dry run below.
NOT_HERE = {
    "make demo",
    "make test",
    "python3 -m venv .venv",
    "source .venv/bin/activate",
    'pip install -c constraints.txt -e ".[starter,llamacpp,serve,studio]"',
}
NEEDS_NETWORK = {"hearme data fetch cpsycound", "hearme data fetch emollm"}
SERVERS = {"hearme studio"}


def commands(name: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_both_languages_show_the_same_commands() -> None:
    assert commands("README.md") == commands("README.zh.md")


def test_the_two_commands_are_targets() -> None:
    for target in ("setup", "demo", "test", "check"):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_pip_line_names_extras_that_exist() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (line,) = [c for c in commands("README.md") if c.startswith("pip install")]
    assert set(re.search(r"\[(.*)\]", line)[1].split(",")) <= extras.keys()  # type: ignore[index]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with dialogues of one's own and, where the recipe looks for it, a little of the right shape."""
    folder = tmp_path_factory.mktemp("readme")
    make_base(folder / "tiny")
    talk = {
        "messages": [
            {"role": "user", "content": "我睡不着，手机是13800138000。"},
            {"role": "assistant", "content": "多久了？"},
        ]
    }
    (folder / "my-dialogues.jsonl").write_text(json.dumps(talk, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "data" / "cpsycound").mkdir(parents=True)
    (folder / "data" / "emollm").mkdir()
    words = ["今天", "老师", "妈妈", "朋友", "工作", "睡觉", "考试", "同事", "争吵", "孤单", "难过", "压力"]
    for i in range(12):
        text = f"来访者：第{i}次{words[i]}让我难受\n\n心理咨询师：{words[-i]}的时候你在想什么？\n\n来访者：想{words[i]}\n\n心理咨询师：慢慢说{i}。\n"
        (folder / "data" / "cpsycound" / f"case_{i}.txt").write_text(text, encoding="utf-8")
    turns = [
        {"conversation": [{"system": "温暖", "input": f"{w}好累", "output": f"😊抱抱你，{w}不容易"}]} for w in words
    ]
    (folder / "data" / "emollm" / "tiangou.json").write_text(json.dumps(turns, ensure_ascii=False), encoding="utf-8")
    return folder


def _run(command: str, place: Path) -> subprocess.CompletedProcess[str]:
    args = shlex.split(command)
    assert args[0] == "hearme"
    if args[1] in ("run", "plan"):
        extra = [f"base={place / 'tiny'}", "stages.stage1.max_steps=2", "stages.stage2.max_steps=2", *SMALL]
        args += [a for value in extra for a in ("--set", value)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HEARME_CACHE": str(place / "cache"), "CI": "true"}
    return subprocess.run(
        [sys.executable, "-m", "hearmeglm", *args[1:]],
        cwd=place,
        env=env,
        input="你好\nstop\n",
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


def test_every_hearme_command_of_the_readme_works(place: Path) -> None:
    """In the order of the page, as a reader would."""
    for command in commands("README.md"):
        if command in NOT_HERE | NEEDS_NETWORK | SERVERS:
            continue
        done = _run(command, place)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr, command
    (line,) = (place / "clean.jsonl").read_text(encoding="utf-8").splitlines()
    assert "13800138000" not in json.dumps(json.loads(line)["messages"])


@pytest.mark.parametrize("command", sorted(NEEDS_NETWORK))
def test_fetching_without_a_network_is_one_line_or_works(command: str, place: Path) -> None:
    done = _run(f"{command} --help", place)
    assert done.returncode == 0
    assert command in commands("README.md")


def test_the_studio_starts_and_stops(place: Path) -> None:
    pytest.importorskip("gradio", reason="needs the `studio` extra")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "hearmeglm", "studio", "--port", str(port)],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + 90
        lines = []
        assert server.stdout is not None
        while time.monotonic() < end:
            line = server.stdout.readline()
            lines.append(line)
            if "http://127.0.0.1:" in line or not line:
                break
        assert any("http://127.0.0.1:" in line for line in lines), "".join(lines)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)
