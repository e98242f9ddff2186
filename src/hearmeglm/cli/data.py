"""Commands: data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import JsonFlag, console, print_json

data = typer.Typer(
    no_args_is_help=True, help="Look at, check, clean and convert training data. 查看、审计、脱敏、转换训练数据。"
)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.add_typer(data, name="data")


@data.command("formats")
def formats(json_out: JsonFlag = False) -> None:
    """List the data formats that are read."""
    from ..data.sources import FORMATS

    if json_out:
        print_json(FORMATS)
        return
    for name, about in FORMATS.items():
        console().print(f"[bold]{name:12}[/bold] {about}")


@data.command("read")
def read(
    format: Annotated[str, typer.Argument(help="`auto` or a name that `hearme data formats` lists.")],
    path: Annotated[Path, typer.Argument(help="A file or a folder.")],
    json_out: JsonFlag = False,
) -> None:
    """Read raw data and count it: dialogues, dropped records, turns, warnings. Converts only; nothing is filtered."""
    from ..data.sources import survey

    reading = survey(path, format)
    if json_out:
        print_json(reading.to_json())
        return
    out = console()
    out.print(
        f"{reading.format}: {reading.dialogues} dialogues, {reading.dropped} dropped, {reading.turns} counsellor turns"
    )
    for warning in reading.warnings:
        out.print(f"  [yellow]![/yellow] {warning}", markup=True)
