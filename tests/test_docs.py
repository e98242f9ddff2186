"""What people read names only what exists: every `hearme …` in code, recipes and documents is a real command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from hearmeglm.cli import app

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"(?<![\w.-])hearme ((?:[a-z][a-z0-9-]*)(?: [a-z][a-z0-9-]*)?)")
TEXTS = sorted(
    p
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "recipes/*.yaml",
        "src/**/*.py",
        "src/**/*.html",
        "Makefile",
        "benchmarks/*.py",
    )
    for p in ROOT.glob(pattern)
)


def _commands() -> dict[str, set[str]]:
    root = typer.main.get_command(app)
    return {name: set(getattr(c, "commands", {})) for name, c in root.commands.items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_that_is_named_exists(path: Path) -> None:
    commands = _commands()
    wrong = []
    for words in NAMED.findall(path.read_text(encoding="utf-8")):
        first, _, second = words.partition(" ")
        if first not in commands or (commands[first] and second and second not in commands[first]):
            wrong.append(f"hearme {words}")
    assert not wrong


def test_relative_links_lead_somewhere() -> None:
    broken = []
    for path in TEXTS:
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken
