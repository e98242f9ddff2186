"""The PDF, by typst: a maintained typesetter in one wheel, offline, that knows page numbers, CJK and colour emoji."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from ..errors import HearmeError
from ..files import atomic_open
from .blocks import Chat, Document, Figure, texts
from .fonts import Families, find_families
from .tree import to_tree

TEMPLATE = Path(__file__).parent / "templates" / "report.typ"
DPI = 220.0


def write_pdf(documents: Sequence[Document], path: Path) -> tuple[str, ...]:
    """Typeset the documents one after the other into one tagged PDF; returns remarks.

    Raises:
        UserError: no font with Chinese characters.
    """
    families = find_families()
    with tempfile.TemporaryDirectory(prefix="hearme-report-") as name:
        folder = Path(name)
        trees = [to_tree(d, partial(_picture, folder=folder, lang=d.lang)) for d in documents]
        data = {"documents": trees, "fonts": {"text": families.text, "mono": families.mono, "emoji": families.emoji}}
        (folder / "data.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
        (folder / "main.typ").write_bytes(TEMPLATE.read_bytes())
        made = _compile(folder / "main.typ", families, "pdf")
    with atomic_open(path, "wb") as out:
        out.write(made)
    return _remarks(documents, families)


def _picture(figure: Figure, folder: Path, lang: str) -> str:
    """Write a figure beside the template and give its name."""
    stem = f"{lang}-{figure.key.replace(':', '-')}"
    if figure.svg:
        (folder / f"{stem}.svg").write_text(figure.svg, encoding="utf-8")
        return f"{stem}.svg"
    kind = "jpg" if figure.png.startswith(b"\xff\xd8") else "png"
    (folder / f"{stem}.{kind}").write_bytes(figure.png)
    return f"{stem}.{kind}"


def rasterise(svg: str, families: Families) -> bytes:
    """An SVG as PNG at 220 dpi, for formats that cannot hold vectors."""
    with tempfile.TemporaryDirectory(prefix="hearme-report-") as name:
        folder = Path(name)
        (folder / "a.svg").write_text(svg, encoding="utf-8")
        (folder / "main.typ").write_text(
            '#set page(width: 16cm, height: auto, margin: 0pt)\n#image("a.svg", width: 100%)', encoding="utf-8"
        )
        return _compile(folder / "main.typ", families, "png")


def _compile(source: Path, families: Families, form: Literal["pdf", "png"]) -> bytes:
    import typst

    try:
        made = typst.compile(str(source), root=str(source.parent), font_paths=families.finder, format=form, ppi=DPI)
    except typst.TypstError as err:
        raise HearmeError(f"the report's template does not compile: {err.message}") from err
    if not isinstance(made, bytes):
        raise HearmeError(f"expected one {form} from the typesetter, found {type(made).__name__}")
    return made


def _remarks(documents: Sequence[Document], families: Families) -> tuple[str, ...]:
    if families.emoji:
        return ()
    said = "".join(t for d in documents for t in texts(list(d.blocks())))
    said += "".join(
        b.text for d in documents for c in d.blocks() if isinstance(c, Chat) for _, col in c.columns for b in col
    )
    if not any(0x1F300 <= ord(c) <= 0x1FAFF for c in said):
        return ()
    return ("no emoji font found: emoji are missing from the PDF -> apt-get install fonts-noto-color-emoji",)
