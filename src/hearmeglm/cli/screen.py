"""The terminal as `hearme chat` uses it: line editing, colours only where there are any, two replies beside each other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ..files import data_dir

_DIM, _BOLD, _OFF = "\x1b[2m", "\x1b[1;36m", "\x1b[0m"


class Screen:
    """Standard input and output.

    Attributes:
        interactive: a person types; else lines come from a file or a pipe.
        colours: the output is a terminal that shows them (`NO_COLOR` and `TERM=dumb` are obeyed).
    """

    def __init__(self, lang: Literal["zh", "en"]) -> None:
        self.lang = lang
        self.interactive = sys.stdin.isatty()
        self.colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def write(self, text: str) -> None:
        """Print at once, without a newline."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def paint(self, text: str) -> str:
        """The look of the tool's own words."""
        return f"{_DIM}{text}{_OFF}" if self.colours else text

    def lines(self, draft: Callable[[], str]) -> Iterator[str]:
        """What is typed, line by line, with editing and history where the platform has them.

        Args:
            draft: gives the text that the next line begins with; empty: none. Its line breaks are offered as spaces.
        """
        if not self.interactive:
            yield from sys.stdin
            return
        readline = _readline()
        # readline counts columns: what has none must stand between \001 and \002
        prompt = f"\n\001{_BOLD}\002> \001{_OFF}\002" if self.colours and readline else "\n> "
        while True:
            offered = " ".join(draft().splitlines())
            if readline:
                readline.set_startup_hook(lambda offered=offered: readline.insert_text(offered))
            try:
                yield input(prompt)
            except EOFError:
                return

    @contextmanager
    def board(self, names: Sequence[str]) -> Iterator[Callable[[Sequence[str]], object]]:
        """Replies in columns that grow as they come; widths are those of the characters, Chinese and emoji included."""
        from rich.console import Console
        from rich.live import Live
        from rich.table import Table
        from rich.text import Text

        def table(texts: Sequence[str]) -> Table:
            grid = Table(*names, expand=True, show_lines=False)
            for column in grid.columns:
                column.ratio = 1
            grid.add_row(*(Text(t) for t in texts))
            return grid

        console = Console(highlight=False)
        with Live(
            table(["" for _ in names]), console=console, refresh_per_second=12, vertical_overflow="visible"
        ) as live:
            yield lambda texts: live.update(table(texts))


def agree(screen: Screen, text: str, lang: Literal["zh", "en"]) -> bool:
    """Show what a client agrees to before the first talk, once; True if it is agreed to, now or earlier.

    Where nobody can answer (a pipe) the text goes to stderr and the talk goes on.
    """
    from ..chat.notices import Consent

    if not screen.interactive:
        print(text, file=sys.stderr)
        return True
    consent = Consent(Path(data_dir()) / "consent.json")
    if consent.given(text):
        return True
    ask = {"zh": "同意并开始吗？[y/N] ", "en": "Agree and begin? [y/N] "}[lang]
    screen.write(f"{text}\n\n")
    try:
        answer = input(ask).strip().lower()
    except EOFError:
        return False
    if answer not in ("y", "yes", "是", "同意", "好"):
        return False
    consent.give(text)
    return True


def _readline() -> Any:
    """The module, or None on platforms without it."""
    try:
        import readline
    except ImportError:
        return None
    return readline
