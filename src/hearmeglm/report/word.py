"""The report as DOCX, by python-docx: native tables, chats as shaded cells, pictures at 220 dpi, one font family."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import atomic_open
from .blocks import Bullets, Chat, Checklist, Code, Document, Figure, Heading, NotRun, Para, Table, numbered, spans

FONT, MONO, EMOJI = "Noto Sans CJK SC", "Noto Sans Mono CJK SC", "Segoe UI Emoji"
INK, GREY, TEAL, AMBER = "1F2D33", "66757B", "2B6A6F", "96621F"
MINT, PALE, SAND, WHITE = "E2EFEC", "F2F6F5", "FAF4EA", "FFFFFF"
WIDTH_CM = 16.2


def write_docx(documents: Sequence[Document], path: Path) -> tuple[str, ...]:
    """Write the documents one after the other; returns remarks."""
    from docx import Document as New

    out = New()
    _page(out)
    remarks: set[str] = set()
    for i, document in enumerate(documents):
        if i:
            out.add_page_break()
        _Writer(out, document, remarks).write()
    with atomic_open(path, "wb") as file:
        out.save(file)
    return tuple(sorted(remarks))


def _page(out: Any) -> None:
    from docx.oxml.ns import qn
    from docx.shared import Cm, Pt, RGBColor

    section = out.sections[0]
    section.page_width, section.page_height = Cm(21), Cm(29.7)
    section.left_margin = section.right_margin = Cm(2.4)
    section.top_margin = section.bottom_margin = Cm(2.3)
    sizes = {"Normal": 10, "Heading 1": 15, "Heading 2": 11.5, "Title": 22, "List Bullet": 10, "List Number": 10}
    for name, size in sizes.items():
        style = out.styles[name]
        style.font.name, style.font.size = FONT, Pt(size)
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        for theme in ("asciiTheme", "hAnsiTheme", "eastAsiaTheme", "cstheme"):
            fonts.attrib.pop(qn(f"w:{theme}"), None)
        for slot in ("ascii", "hAnsi", "eastAsia", "cs"):
            fonts.set(qn(f"w:{slot}"), FONT)
        style.font.color.rgb = RGBColor.from_string(TEAL if name.startswith("Heading") else INK)
        style.paragraph_format.space_after = Pt(6)
        style.paragraph_format.line_spacing = 1.25
    out.styles["Heading 1"].paragraph_format.space_before = Pt(20)


class _Writer:
    """Writes one document's blocks to the end of a DOCX."""

    def __init__(self, out: Any, document: Document, remarks: set[str]) -> None:
        self.out, self.document, self.remarks = out, document, remarks
        self.numbers = numbered(document)

    def write(self) -> None:
        d = self.document
        self.out.add_paragraph(d.title, style="Title")
        self.text(d.subtitle, 13, TEAL)
        self.grid([[k, v] for k, v in d.cover], (3, 13.2))
        for label, value, note in d.facts:
            self.text(f"{label}: {value} ({note})", 10, TEAL)
        self.text(d.notice, 8.5, GREY)
        self.out.add_page_break()
        self.text(d.labels["contents"], 15, TEAL, bold=True)
        for i, section in enumerate(d.sections, 1):
            self.text(f"{i}  {section.title}", 10, INK)
        self.out.add_page_break()
        for i, section in enumerate(d.sections, 1):
            self.out.add_heading(f"{i}  {section.title}", 1)
            for block in section.blocks:
                self.block(block)

    def block(self, b: Any) -> None:
        """Write one block."""
        if isinstance(b, Para):
            self.rich(self.out.add_paragraph(), b.text, 8.5 if b.quiet else 10, GREY if b.quiet else INK)
        elif isinstance(b, Heading):
            self.out.add_heading(b.text, 2)
        elif isinstance(b, Bullets):
            for n, item in enumerate(b.items, 1):  # numbers are written out: Word would count on from the list before
                style = "Normal" if b.ordered else "List Bullet"
                self.rich(self.out.add_paragraph(style=style), f"{n}. {item}" if b.ordered else item, 10, INK)
        elif isinstance(b, Table):
            self.caption(b.key, b.caption, "table", keep=True)
            self.grid([list(b.head), *map(list, b.rows)], head=True, align=b.align, weights=b.widths)
            self.source(b.source)
        elif isinstance(b, Figure):
            self.picture(b)
        elif isinstance(b, Chat):
            self.chat(b)
        elif isinstance(b, Code):
            cell = self.shaded(PALE)
            self.run(cell.paragraphs[0], b.text, 7.5, INK, font=MONO)
            if b.key:
                self.caption(b.key, b.caption, "figure")
                self.source(b.source)
        elif isinstance(b, NotRun):
            paragraph = self.shaded(SAND).paragraphs[0]
            self.run(paragraph, f"{self.document.labels['notrun']}  ", 9, AMBER, bold=True)
            self.run(paragraph, b.text, 9, INK)
            if b.command:
                self.run(paragraph, f"  {b.command}", 8, GREY, font=MONO)
        elif isinstance(b, Checklist):
            self.text(b.caption, 9, GREY)
            where = self.document.labels["section"]
            rows = [
                [r.item, f"{where} {self.document.number(r.section)}" if r.section else "–", b.yes if r.met else b.no, r.note]
                for r in b.rows
            ]  # fmt: skip
            self.grid([list(b.head), *rows], head=True, weights=(5, 2, 2, 5))

    def text(self, text: str, size: float, colour: str, *, bold: bool = False) -> None:
        self.run(self.out.add_paragraph(), text, size, colour, bold=bold)

    def rich(self, paragraph: Any, text: str, size: float, colour: str) -> None:
        for piece, code in spans(text):
            self.run(paragraph, piece, size, colour, font=MONO if code else FONT)

    def run(self, paragraph: Any, text: str, size: float, colour: str, *, bold: bool = False, font: str = FONT) -> None:
        """Add text; characters that XML cannot hold are left out, emoji get an emoji font."""
        from docx.oxml.ns import qn
        from docx.shared import Pt, RGBColor

        for piece, emoji in _emoji_runs("".join(c for c in text if c in "\t\n" or ord(c) >= 32)):
            run = paragraph.add_run(piece)
            name = EMOJI if emoji else font
            run.font.name, run.font.size, run.font.bold = name, Pt(size), bold
            run._element.rPr.rFonts.set(qn("w:eastAsia"), name)
            run.font.color.rgb = RGBColor.from_string(colour)

    def caption(self, key: str, text: str, kind: str, *, keep: bool = False) -> None:
        from docx.enum.text import WD_ALIGN_PARAGRAPH

        paragraph = self.out.add_paragraph()
        paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
        paragraph.paragraph_format.keep_with_next = keep
        self.run(paragraph, f"{self.document.labels[kind]} {self.numbers[key]}  ", 9, TEAL, bold=True)
        self.run(paragraph, text, 9, INK)

    def source(self, text: str) -> None:
        from docx.enum.text import WD_ALIGN_PARAGRAPH

        if text:
            paragraph = self.out.add_paragraph()
            paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
            self.run(paragraph, f"{self.document.labels['source']}: {text}", 8, GREY)

    def grid(
        self,
        rows: list[list[str]],
        centimetres: Sequence[float] = (),
        *,
        head: bool = False,
        align: str = "",
        weights: Sequence[float] = (),
    ) -> None:
        """A table; `weights` share out the width, else it is by content."""
        from docx.enum.table import WD_TABLE_ALIGNMENT
        from docx.enum.text import WD_ALIGN_PARAGRAPH
        from docx.oxml import OxmlElement
        from docx.oxml.ns import qn
        from docx.shared import Cm, Pt

        table = self.out.add_table(rows=len(rows), cols=len(rows[0]))
        table.alignment, table.style = WD_TABLE_ALIGNMENT.CENTER, "Table Grid" if head else "Normal Table"
        widths = centimetres or [WIDTH_CM * x / sum(weights) for x in weights]
        for y, (cells, row) in enumerate(zip(table.rows, rows, strict=True)):
            properties = cells._tr.get_or_add_trPr()
            properties.append(OxmlElement("w:cantSplit"))
            if head and y == 0:
                mark = OxmlElement("w:tblHeader")
                mark.set(qn("w:val"), "true")
                properties.append(mark)
            for x, text in enumerate(row):
                cell = cells.cells[x]
                paragraph = cell.paragraphs[0]
                paragraph.paragraph_format.space_after = Pt(1)
                if align[x : x + 1] == "r":
                    paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
                self.run(paragraph, text, 8.5 if head else 10, INK, bold=head and y == 0)
                if head and y == 0:
                    _shade(cell, MINT)
                if widths:
                    cell.width = Cm(widths[x])

    def shaded(self, colour: str) -> Any:
        """A one-cell table filled with a colour; a little room follows it."""
        from docx.shared import Pt

        cell = self.out.add_table(rows=1, cols=1).cell(0, 0)
        _shade(cell, colour)
        self.out.add_paragraph().paragraph_format.space_after = Pt(2)
        return cell

    def chat(self, b: Chat) -> None:
        from docx.enum.text import WD_ALIGN_PARAGRAPH
        from docx.shared import Pt

        table = self.out.add_table(rows=1, cols=len(b.columns))
        for cell, (title, bubbles) in zip(table.rows[0].cells, b.columns, strict=True):
            _shade(cell, PALE)
            self.run(cell.paragraphs[0], title, 9, TEAL, bold=True)
            for bubble in bubbles:
                paragraph = cell.add_paragraph()
                paragraph.paragraph_format.space_after = Pt(5)
                mine = bubble.role == "assistant"
                paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT if mine else WD_ALIGN_PARAGRAPH.LEFT
                self.run(paragraph, bubble.who + "\n", 7.5, GREY)
                self.run(paragraph, bubble.text, 9.5, TEAL if mine else INK)
        self.caption(b.key, b.caption, "figure")
        self.source(b.source)

    def picture(self, b: Figure) -> None:
        from docx.enum.text import WD_ALIGN_PARAGRAPH
        from docx.shared import Cm

        png = b.png
        if not png:
            try:
                from .fonts import find_families
                from .pdf import rasterise

                png = rasterise(b.svg, find_families())
            except UserError as err:
                self.remarks.add(f"a picture could not be drawn: {err}")
                return
        paragraph = self.out.add_paragraph()
        paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
        paragraph.paragraph_format.keep_with_next = True
        shape = paragraph.add_run().add_picture(io.BytesIO(png), width=Cm(min(b.width_cm, WIDTH_CM)))
        shape._inline.docPr.set("descr", b.alt)
        self.caption(b.key, b.caption, "figure")
        self.source(b.source)


def _shade(cell: Any, colour: str) -> None:
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    fill = OxmlElement("w:shd")
    for key, value in (("val", "clear"), ("color", "auto"), ("fill", colour)):
        fill.set(qn(f"w:{key}"), value)
    cell._tc.get_or_add_tcPr().append(fill)


def _emoji_runs(text: str) -> list[tuple[str, bool]]:
    """Cut a text into runs of emoji and of everything else; joiners and variation selectors stay with their emoji."""
    out: list[tuple[str, bool]] = []
    for char in text:
        code = ord(char)
        joins = code in (0x200D, 0xFE0F) and bool(out) and out[-1][1]
        emoji = joins or 0x1F000 <= code <= 0x1FAFF or (0x2600 <= code <= 0x27BF and char not in "✔✘")
        if out and out[-1][1] == emoji:
            out[-1] = (out[-1][0] + char, emoji)
        else:
            out.append((char, emoji))
    return out
