"""The checklist: each requirement and grading item of a course, the section that meets it, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from .blocks import Block, Check, Checklist, NotRun, Para, Section, Table
from .data import ReportData
from .original import FIGURES, TABLES
from .words import Words, number

CAPTURES = tuple(
    f"fig:{p}-{m}" for p in ("terminal", "studio") for m in ("setup", "training", "evaluation", "inference")
)
ENOUGH = 500
"""Samples that the course asks for."""


def present(sections: Sequence[Section]) -> dict[str, tuple[str, bool]]:
    """Block key -> (section key, whether it is there; False: marked as not run)."""
    out: dict[str, tuple[str, bool]] = {}
    for section in sections:
        for block in section.blocks:
            if key := getattr(block, "key", ""):
                out[key] = (section.key, not isinstance(block, NotRun))
    return out


def checklist(d: ReportData, w: Words, sections: Sequence[Section], *, bilingual: bool) -> Section:
    """The last section, made from what the others hold."""
    have = present(sections)

    def lacking(*keys: str) -> str:
        absent = [k.split(":", 1)[1] for k in keys if not have.get(k, ("", False))[1]]
        return w("check.note.missing", items=", ".join(absent)) if absent else ""

    def check(name: str, section: str, *keys: str) -> Check:
        note = lacking(*keys)
        return Check(w(f"check.{name}"), section, not note, note)

    kept = sum(s.kept for s in d.data.sources) + d.data.persona_pairs if d.data else 0
    unlicensed = [n for n, s in d.recipe.data.sources.items() if s.enabled and not s.licence]
    blank = [
        w(f"cover.{k}")
        for k, v in (
            ("name", d.owner.name),
            ("student_id", d.owner.student_id),
            ("class", d.owner.class_name),
            ("instructor", d.owner.instructor),
        )
        if not v
    ]
    missing = sum(not ok for _, ok in have.values())
    rows = (
        Check(w("check.cover"), "", not blank, w("check.note.cover", items=", ".join(blank)) if blank else ""),
        check("value", "direction"),
        Check(w("check.samples500"), "sources", kept >= ENOUGH, w("check.note.n", n=number(kept)) if d.data else lacking("tab:sources")),
        Check(w("check.legal"), "licences", not unlicensed, w("check.note.licence", items=", ".join(unlicensed)) if unlicensed else ""),
        check("split", "split", "tab:split"),
        check("hyper", "setup", "tab:setup"),
        check("steps", "log", "tab:log"),
        check("captures", "log", *CAPTURES),
        check("beforeafter", "results", "tab:overlap", "tab:delta"),
        check("f1", "persona", "tab:self"),
        check("deploy", "deployment", "tab:bench", "fig:terminal-inference"),
        Check(w("check.bilingual"), "", bilingual, "" if bilingual else w("check.note.lang")),
        Check(w("check.report"), "", not missing, w("check.note.count", n=len(have) - missing, all=len(have))),
        check("innovation", "innovation"),
        check("gradesamples", "samples", "tab:sources", "tab:lengths", "tab:cleaning", "tab:split"),
        check("gradetuning", "training", "tab:setup", "tab:training", "fig:loss-1", "fig:loss-2"),
        check("gradetesting", "results", "tab:overlap", "tab:judge", "tab:persona"),
    )  # fmt: skip
    heads = (w("head.item"), w("head.where"), w("head.met"), w("head.note"))
    blocks: tuple[Block, ...] = (
        Checklist(w("cap.checklist"), heads, rows, w("status.met"), w("status.unmet")),
        Para(w("check.original.text")),
        _original(w, sections, have),
    )
    return Section("checklist", w("sec.checklist"), blocks)


def _original(w: Words, sections: Sequence[Section], have: dict[str, tuple[str, bool]]) -> Table:
    """Each figure and table of the original, with its place here or 'not run'."""
    from .blocks import Document, numbered

    document = Document(w.lang, "", "", (), (), "", tuple(sections), {})
    numbers = numbered(document)
    rows = []
    for kind, items in (("figure", FIGURES), ("table", TABLES)):
        for number_, keys in items:
            places = [
                f"{w('label.table' if k.startswith('tab:') else 'label.figure')} {numbers[k]}"
                if k in numbers
                else w("label.notrun")
                for k in keys
            ]
            title = have_title(sections, keys[0])
            rows.append((f"{w(f'label.{kind}')} {number_}", title, ", ".join(dict.fromkeys(places))))
    heads = (w("head.original"), w("head.note"), w("head.place"))
    return Table("tab:original", w("cap.original"), heads, tuple(rows), "lll", (1, 3, 1.6))  # fmt: skip


def have_title(sections: Sequence[Section], key: str) -> str:
    """Caption of a block (or what a NotRun says of it)."""
    for section in sections:
        for block in section.blocks:
            if getattr(block, "key", "") == key:
                return block.text if isinstance(block, NotRun) else str(getattr(block, "caption", ""))
    raise KeyError(key)
