"""Commands: evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import JsonFlag, console, print_json


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    score = typer.Typer(help="Score a file of replies.", no_args_is_help=True)
    score.command("overlap")(score_overlap)
    app.add_typer(score, name="score")


def score_overlap(
    file: Annotated[Path, typer.Option("--in", help='JSON Lines of {"predict", "label"}.')],
    extended: Annotated[bool, typer.Option("--extended", help="Also word BLEU, chrF, length, repetition (by language).")] = False,
    json_mode: JsonFlag = False,
) -> None:
    """BLEU-4 and ROUGE-1/2/L of replies against references, exactly as LLaMA-Factory computes them."""
    from ..evals.overlap_file import score_file, table

    result = score_file(file, extended=extended)
    if json_mode:
        print_json(result)
    else:
        console().print(table(result))
