"""Commands: report, card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import JsonFlag, console, print_json

RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("report")(report)
    app.command("card")(card)


def report(
    run: RunArg,
    student_id: Annotated[
        str, typer.Option("--student-id", help="Student id: cover and file name; default: the recipe's.")
    ] = "",
    name: Annotated[
        str, typer.Option("--name", help="Student's name: cover and file name; default: the recipe's.")
    ] = "",
    lang: Annotated[str, typer.Option("--lang", help="zh, en, or both (Chinese, then English).")] = "both",
    form: Annotated[str, typer.Option("--format", help="pdf, html or docx.")] = "pdf",
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the file; default RUN/report.")] = None,
    capture: Annotated[
        bool,
        typer.Option(
            "--capture", help="First take the terminal's pictures (doctor, compare, chat; nothing is trained again)."
        ),
    ] = False,
    ask: Annotated[
        str, typer.Option("--ask", help="What the captured chat is asked.")
    ] = "你好，你是谁？最近总是睡不好，心里空落落的。",
    json_mode: JsonFlag = False,
) -> None:
    """The bilingual report of a run, as `StudentID-Name.pdf`; what was not run is said to be not run."""
    from ..report.build import write_report
    from ..run import RunDir

    folder = RunDir.open(run)
    say = console(json_mode)
    if capture:
        from ..report.capture import capture_terminal

        for picture in capture_terminal(folder, ask):
            say.print(f"captured {picture}", markup=False)
    made = write_report(folder, lang=lang, form=form, out=out, student_id=student_id, name=name)
    if json_mode:
        print_json(
            {"file": str(made.path), "languages": made.languages, "not_run": made.not_run, "remarks": made.remarks}
        )
        return
    say.print(f"[green]✓[/green] {made.path}")
    for remark in made.remarks:
        say.print(remark, markup=False)
    if made.not_run:
        say.print(f"marked as not run: {', '.join(made.not_run)}", markup=False)


def card(
    run: RunArg,
    kind: Annotated[str, typer.Option("--kind", help="model, data, or both.")] = "both",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder; default RUN/report. The files are model-card.md and data-card.md."),
    ] = None,
    json_mode: JsonFlag = False,
) -> None:
    """Model card and data card of a run, in the hub's format, from the same numbers as the report."""
    from ..report.cards import write_cards
    from ..run import RunDir

    made = write_cards(RunDir.open(run), kind=kind, out=out)
    if json_mode:
        print_json({"files": [str(p) for p in made]})
        return
    for path in made:
        console().print(f"[green]✓[/green] {path}")
