"""Commands: evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from . import judging, suites
from .common import JsonFlag, console, print_json

RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    score = typer.Typer(help="Score a file of replies.", no_args_is_help=True)
    score.command("overlap")(score_overlap)
    app.add_typer(score, name="score")
    app.command("evaluate")(evaluate_run)
    judging.register(app)
    app.command("compare")(compare_runs)
    app.command("show")(show_dialogue)
    suites.register(app)


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
    from ..evals.summary import tables
    from ..run import RunDir

    folder = RunDir.open(run)
    result = evaluate(folder.recipe, folder, via=dict(_pair(item) for item in via or []))
    if json_mode:
        print_json({"run": str(run), "skipped": result.skipped, **result.summary})
    else:
        console().print(*tables(dict(result.summary)))


def _pair(item: str) -> tuple[str, str]:
    name, sign, value = item.partition("=")
    if not (name and sign and value):
        raise UserError(f"expected NAME=MODEL, found {item!r}", where="--via")
    return name, value


def compare_runs(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN [RUN …]", help="Evaluated runs.")],
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="Comma-separated; default the headline ones and the judge's.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of bootstrap and permutations.")] = 0,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Where the PNG goes; default RUN/evals/compare.png of the first run."),
    ] = None,
    json_mode: JsonFlag = False,
) -> None:
    """Base, prompted base, stages and runs side by side: paired differences with intervals, p-values, effect sizes, retention."""
    from ..evals import compare
    from ..run import RunDir

    folders = [RunDir.open(r) for r in runs]
    result = compare.compare(folders, metrics=metrics.split(",") if metrics else None, seed=seed)
    target = figure or folders[0].evals.path / "compare.png"
    compare.figure(result, target)
    if json_mode:
        print_json(result)
        return
    for one in compare.table(result):
        console().print(one)
    console().print(f"figure: {target}")


def show_dialogue(
    run: RunArg,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Id of a dialogue, or of one answer (dialogue#turn).")],
    json_mode: JsonFlag = False,
) -> None:
    """One dialogue with every model's answers and scores."""
    from ..evals.compare import show
    from ..run import RunDir

    found = show(RunDir.open(run), wanted)
    if json_mode:
        print_json(found)
        return
    out = console()
    for prompt in found["prompts"]:
        out.rule(prompt["id"])
        for m in prompt["messages"]:
            out.print(f"[dim]{m['role']}:[/dim] ", end="")
            out.print(m["content"], markup=False)
        out.print("[bold]reference 参考:[/bold] ", end="")
        out.print(prompt["reference"], markup=False)
        for a in prompt["answers"]:
            marks = " ".join(
                f"{m} {a['scores'][m]:.1f}" for m in ("bleu-4", "rouge-l", "chrf") if a["scores"].get(m) is not None
            )
            out.print(
                f"[bold]{a['model']}[/bold] [dim]({a['tokens']} tokens, {a['finish_reason']}; {marks})[/dim] ", end=""
            )
            out.print(a["prediction"], markup=False)
