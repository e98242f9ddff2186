"""Pictures of the terminal: commands are run and their real output is drawn as SVG, so that a report needs no screenshots by hand."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ..files import write_text
from ..run import RunDir

COLUMNS = 110
LINES = 46
"""The last so many lines of an output are shown."""
_PLAIN = str.maketrans(
    {"━": "=", "─": "-", "╸": "=", "╺": "=", "┃": "|", "│": "|"} | dict.fromkeys("┏┓┗┛┡┩┳┻╇┌┐└┘├┤┬┴┼╭╮╰╯", "+")
)
"""Fonts with Chinese draw lines two cells wide."""
_CLOSING = "，。！？；：、）】》”’…,.!?;:)]"
LIMIT_S = 300
_LENGTH = re.compile(r'textLength="(?P<length>[\d.]+)"(?P<rest>[^>]*)>(?P<text>[^<]*)</text>')
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>{styles} .{unique_id}-matrix {{ font-family: "Noto Sans Mono CJK SC", "Noto Sans Mono", Consolas, Menlo, monospace; font-size: 22px; line-height: {line_height}px; }} .{unique_id}-title {{ font-size: 18px; font-family: "Noto Sans CJK SC", sans-serif; }}</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
{chrome}<rect x="0.1%" y="0.4%" width="99.8%" height="99.2%" rx="8" fill="none" stroke="#d5dedd" stroke-width="2" /><g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>"""


def capture_terminal(run: RunDir, ask: str) -> Iterator[Path]:
    """Draw what commands print; only commands that change nothing in the run are run, and one that fails is left out.

    Set-up shows what the machine has, evaluation compares the run's models, inference asks the tuned model one question.
    Training is never run again for a picture: `hearme train RUN 2>&1 | tee RUN/captures/terminal-training.txt` keeps what it
    printed, and any such `terminal-<moment>.txt` is drawn instead of running a command.

    Yields:
        Path of each picture, `RUN/<captures>/terminal-<moment>.svg`.
    """
    place = str(run.path)
    folder = run.path / run.recipe.report.captures
    moments = {"setup": ["doctor"], "training": ["train"], "evaluation": ["compare"], "inference": ["chat"]}
    for moment, arguments in moments.items():
        kept = folder / f"terminal-{moment}.txt"
        if kept.is_file():
            text: str | None = kept.read_text(encoding="utf-8", errors="replace")
        elif moment == "training":
            continue
        else:
            command = arguments if moment == "setup" else [*arguments, place]
            text = _output(command, f"{ask}\nstop\n" if moment == "inference" else "")
        if text is not None:
            path = folder / f"terminal-{moment}.svg"
            shown = arguments if moment == "setup" else [*arguments, run.path.resolve().name]
            write_text(path, draw(" ".join(["hearme", *shown]), text))
            yield path


def _output(arguments: list[str], typed: str) -> str | None:
    """What the command prints on both streams, with colours; None if it fails."""
    environment = {
        **os.environ,
        "COLUMNS": str(COLUMNS),
        "FORCE_COLOR": "1",
        "TERM": "xterm-256color",
        "PYTHONIOENCODING": "utf-8",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "hearmeglm", *arguments],
            input=typed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace", env=environment, timeout=LIMIT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 and done.stdout.strip() else None


def draw(command: str, text: str) -> str:
    """A terminal window with a prompt, the command, and the last lines of its output; light, since it will be printed."""
    import io

    from rich.console import Console
    from rich.terminal_theme import DEFAULT_TERMINAL_THEME
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    lines = [line.rsplit("\r", 1)[-1] for line in text.translate(_PLAIN).rstrip("\n").split("\n")]
    for line in Text.from_ansi("\n".join(lines[-LINES:])).split("\n"):
        for part in line.divide(_breaks(line.plain)):
            console.print(part)
    svg = console.export_svg(title="hearme", code_format=FORMAT, theme=DEFAULT_TERMINAL_THEME)
    return _LENGTH.sub(_by_cells, svg)


def _breaks(line: str) -> list[int]:
    """Where a line of more than COLUMNS cells is broken: at a space or beside a Chinese character, not before a closing mark (rich: at spaces alone)."""
    from rich.cells import cell_len

    out: list[int] = []
    start = last = cells = 0
    for i, c in enumerate(line):
        if i > start and c not in _CLOSING and (line[i - 1] == " " or 2 in (cell_len(c), cell_len(line[i - 1]))):
            last = i
        cells += cell_len(c)
        if cells > COLUMNS:
            start = last if last > start else i
            out.append(start)
            cells = cell_len(line[start : i + 1])
    return out


def _by_cells(found: re.Match[str]) -> str:
    """rich counts characters where a Chinese one takes two cells: without this they are squeezed into half their width."""
    from rich.cells import cell_len

    said = html.unescape(found["text"])
    each = float(found["length"]) / max(1, len(said))
    return f'textLength="{each * cell_len(said):g}"{found["rest"]}>{found["text"]}</text>'
