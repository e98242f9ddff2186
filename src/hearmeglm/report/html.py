"""The report as one HTML file: styles and pictures inside, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from ..files import write_text
from .blocks import Document, Figure
from .tree import to_tree

TEMPLATES = Path(__file__).parent / "templates"


def write_html(documents: Sequence[Document], path: Path) -> tuple[str, ...]:
    """Write the documents one after the other with a switch between the languages; returns remarks (none)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    page = env.get_template("report.html.jinja").render(
        documents=[to_tree(d, _picture) for d in documents], style=style
    )
    write_text(path, page)
    return ()


def _picture(figure: Figure) -> str:
    """A data URI: vectors where there are any. An `img` cannot run scripts, whatever the picture holds."""
    if figure.svg:
        return "data:image/svg+xml;base64," + base64.b64encode(figure.svg.encode()).decode()
    kind = "jpeg" if figure.png.startswith(b"\xff\xd8") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(figure.png).decode()}"
