from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch",
    "transformers",
    "peft",
    "gradio",
    "fastapi",
    "matplotlib",
    "scipy",
    "sklearn",
    "jieba",
    "nltk",
    "numpy",
)


def hearme(*args: str, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hearmeglm", *args],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        check=False,
    )


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, hearmeglm.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_and_version() -> None:
    assert "hearme run demo" in hearme("--help").stdout
    assert hearme("--version").stdout.startswith("hearmeglm ")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("run", "nowhere"), "hearme: nowhere: expected a recipe file, found nothing -> shipped recipes:"),
        (("run", "demo", "--set", "sead=1"), "sead: unknown key"),
        (("chat", "./nowhere"), "hearme: ./nowhere: expected a model directory or a hub id (org/name), found nothing"),
        (("chat", "nowhere.gguf"), "hearme: nowhere.gguf: expected a GGUF file, found nothing"),
        (("generate", "--model", "nowhere.gguf", "--in", "x", "--out", "y"), "expected a GGUF file"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(args: tuple[str, ...], line: str, tmp_path: Path) -> None:
    done = hearme(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_ctrl_c_says_how_to_go_on() -> None:
    code = "import sys, typer; from hearmeglm.cli.common import run_app; app = typer.Typer(); app.command()(lambda: (_ for _ in ()).throw(KeyboardInterrupt)); sys.exit(run_app(app))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "hearme: interrupted; run the same command again to go on\n")
