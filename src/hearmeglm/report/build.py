"""From a run to a finished file: collect, write the tree in each language, draw it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import UserError
from ..run import RunDir
from .blocks import LANGS, Document, Lang, NotRun
from .checklist import checklist
from .collect import collect
from .data import ReportData
from .sections import sections
from .words import Words, number, percent

Format = Literal["html", "pdf", "docx"]
LABELS = ("figure", "table", "contents", "notrun", "page", "section", "source", "lang")
_BAD_IN_NAME = re.compile(r'[\\/:*?"<>|\x00-\x1f]')


@dataclass(frozen=True, slots=True)
class Written:
    """A finished report: its file, and what is marked as not run in it."""

    path: Path
    languages: tuple[Lang, ...]
    not_run: tuple[str, ...]
    remarks: tuple[str, ...]


def languages(lang: str) -> tuple[Lang, ...]:
    """`zh`, `en`, or `both` (Chinese first).

    Raises:
        UserError: another word.
    """
    if lang == "both":
        return LANGS
    for known in LANGS:
        if lang == known:
            return (known,)
    raise UserError(f"expected zh, en or both, found {lang!r}", where="--lang")


def file_name(d: ReportData, form: str) -> str:
    """Exactly `StudentID-Name.<form>`; without both of them `report.<form>`.

    Raises:
        UserError: id or name hold what a file name cannot.
    """
    parts = (d.owner.student_id.strip(), d.owner.name.strip())
    for part in parts:
        if _BAD_IN_NAME.search(part) or part in (".", ".."):
            raise UserError(
                f"expected a student id and a name that can stand in a file name, found {part!r}",
                where="--student-id, --name",
                hint="leave out / \\ : * ? and the like",
            )
    return f"{'-'.join(parts)}.{form}" if all(parts) else f"report.{form}"


def document(d: ReportData, lang: Lang, *, bilingual: bool) -> Document:
    """The whole report in one language."""
    w = Words(lang)
    body = sections(d, w)
    body.append(checklist(d, w, body, bilingual=bilingual))
    own = d.recipe.report.title
    title = (own.zh if lang == "zh" else own.en) or w("doc.title", name=d.recipe.persona.name)
    fields = (
        ("project", title), ("name", d.owner.name), ("student_id", d.owner.student_id), ("class", d.owner.class_name),
        ("instructor", d.owner.instructor), ("date", d.owner.date), ("grade", d.owner.grade), ("signature", ""),
    )  # fmt: skip
    return Document(
        lang=lang,
        title=title,
        subtitle=w("doc.subtitle"),
        cover=tuple((w(f"cover.{k}"), v) for k, v in fields),
        facts=tuple(_facts(d, w)),
        notice=w("cover.notice"),
        sections=tuple(body),
        labels={k: w(f"label.{k}") for k in LABELS} | {"run": d.run, "made": w("label.made")},
    )


def _facts(d: ReportData, w: Words) -> list[tuple[str, str, str]]:
    """Up to four numbers for the cover: label, value, remark."""
    out: list[tuple[str, str, str]] = []
    if d.data:
        sizes = " / ".join(number(s.dialogues) for s in d.data.splits)
        out.append((w("fact.dialogues"), sizes, w("fact.dialogues.note")))
    base, tuned = (d.evals.model("base"), d.evals.model(d.tuned)) if d.evals else (None, None)
    for key, label, form in (
        ("loss", "fact.loss", ".3f"),
        ("bleu-4", "fact.bleu", ".2f"),
        ("rouge-l", "fact.rouge", ".2f"),
    ):
        before, after = (m.values.get(key) if m else None for m in (base, tuned))
        if d.evals and before is not None and after is not None:
            value = f"{number(before, form)} → {number(after, form)}"
            out.append((w(label), value, f"n = {d.evals.prompts}"))
    suite = d.suite("persona")
    score = next((s for s in suite.scores if s.model == d.tuned), None) if suite else None
    if score:
        out.append((w("fact.persona"), percent(score.passed, score.n), w("fact.of", part=score.passed, n=score.n)))
    return out[:4]


def write_report(
    run: RunDir,
    *,
    lang: str = "both",
    form: str = "pdf",
    out: Path | None = None,
    student_id: str = "",
    name: str = "",
) -> Written:
    """Build the report of a run and write it atomically.

    Args:
        form: pdf, html or docx.
        out: folder of the file; `RUN/report` if None.
        student_id, name: instead of the recipe's.

    Raises:
        UserError: an unknown language or format, a bad name, or a font that is missing.
        DataError: a file of the run that cannot be read as what it is.
    """
    wanted = languages(lang)
    if form not in ("html", "pdf", "docx"):
        raise UserError(f"expected html, pdf or docx, found {form!r}", where="--format")
    d = collect(run)
    owner = replace(d.owner, student_id=student_id or d.owner.student_id, name=name or d.owner.name)
    d = replace(d, owner=owner)
    path = (out or run.path / "report") / file_name(d, form)
    documents = [document(d, one, bilingual=len(wanted) > 1) for one in wanted]
    remarks = draw(documents, form, path)
    first = documents[0]
    absent = tuple(b.key for b in first.blocks() if isinstance(b, NotRun))
    if path.stem == "report":
        remarks = (*remarks, "no student id or name: the file is called report; --student-id and --name change that")
    return Written(path, wanted, absent, remarks)


def draw(documents: Sequence[Document], form: str, path: Path) -> tuple[str, ...]:
    """Draw the trees into one file; returns remarks for the user."""
    if form == "html":
        from .html import write_html

        return write_html(documents, path)
    if form == "docx":
        from .word import write_docx

        return write_docx(documents, path)
    from .pdf import write_pdf

    return write_pdf(documents, path)
