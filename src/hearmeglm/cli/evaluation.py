"""Commands: evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from . import judging
from .common import JsonFlag, console, print_json

RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    score = typer.Typer(help="Score a file of replies.", no_args_is_help=True)
    score.command("overlap")(score_overlap)
    app.add_typer(score, name="score")
    app.command("evaluate")(evaluate_run)
    judging.register(app)


def score_overlap(
    file: Annotated[Path, typer.Option("--in", help='JSON Lines of {"predict", "label"}.')],
    extended: Annotated[
        bool, typer.Option("--extended", help="Also word BLEU, chrF, length, repetition (by language).")
    ] = False,
    json_mode: JsonFlag = False,
) -> None:
    """BLEU-4 and ROUGE-1/2/L of replies against references, exactly as LLaMA-Factory computes them."""
    from ..evals.overlap_file import score_file, table

    result = score_file(file, extended=extended)
    if json_mode:
        print_json(result)
    else:
        console().print(table(result))


def evaluate_run(
    run: RunArg,
    via: Annotated[
        list[str] | None,
        typer.Option(
            "--via",
            metavar="NAME=MODEL",
            help="Ask a model elsewhere (server URL#name, .gguf) instead of loading its weights; may be repeated.",
        ),
    ] = None,
    json_mode: JsonFlag = False,
) -> None:
    """Before/after: let every model of the run answer the held-out prompts, and score the answers."""
    from ..evals.evaluate import evaluate
    from ..evals.summary import table
    from ..run import RunDir

    folder = RunDir.open(run)
    result = evaluate(folder.recipe, folder, via=dict(_pair(item) for item in via or []))
    if json_mode:
        print_json({"run": str(run), "skipped": result.skipped, **result.summary})
    else:
        console().print(table(dict(result.summary)))


def _pair(item: str) -> tuple[str, str]:
    name, sign, value = item.partition("=")
    if not (name and sign and value):
        raise UserError(f"expected NAME=MODEL, found {item!r}", where="--via")
    return name, value
