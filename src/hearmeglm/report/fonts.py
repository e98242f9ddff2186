"""Fonts for the PDF: one family for everything, Chinese included, and one for emoji. What is missing is said in one line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..data.figures import CJK_FONTS
from ..errors import UserError

MONO = ("Noto Sans Mono CJK SC", "Source Han Mono SC", "Noto Sans Mono", "DejaVu Sans Mono", "Consolas", "Menlo")
EMOJI = ("Noto Color Emoji", "Apple Color Emoji", "Segoe UI Emoji", "Twemoji Mozilla", "Noto Emoji", "Symbola")


@dataclass(frozen=True, slots=True)
class Families:
    """Names of the families to use; `emoji` is empty if none was found. `finder` is what the typesetter searches."""

    text: str
    mono: str
    emoji: str
    finder: Any


def find_families() -> Families:
    """Look at `HEARME_FONT` (a file or a folder), the fonts of the packages that bring some (mplfonts), and the system's.

    Raises:
        UserError: no font with Chinese characters.
    """
    import typst

    paths: list[Path] = []
    own = os.environ.get("HEARME_FONT")
    if own and Path(own).exists():
        paths.append(Path(own) if Path(own).is_dir() else Path(own).parent)
    brought = find_spec("mplfonts")
    if brought is not None and brought.origin:
        paths.append(Path(brought.origin).parent)
    finder = typst.Fonts(font_paths=[str(p) for p in paths])
    have = set(finder.families())
    named = [f.family for f in finder.fonts() if own and f.path and Path(f.path) == Path(own)]
    text = next((f for f in (*named, *CJK_FONTS) if f in have), "")
    if not text:
        raise UserError(
            "expected a font with Chinese characters for the PDF, found none",
            hint="apt-get install fonts-noto-cjk fonts-noto-color-emoji, or pip install mplfonts, or HEARME_FONT=/path/to/font.otf; --format html needs none",
        )
    mono = next((f for f in MONO if f in have), text)
    return Families(text, mono, next((f for f in EMOJI if f in have), ""), finder)
