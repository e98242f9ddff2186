"""Commands: run, and its steps prepare and (with their own options) train and evaluate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import JsonFlag, console, print_json

if TYPE_CHECKING:
    from ..recipe import Recipe
    from ..run import RunDir

RecipeArg = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one (demo, jerry-270m, paper).")
]
RunOption = Annotated[Path | None, typer.Option("--run", help="Folder of the run; default runs/<name of the recipe>.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting, e.g. --set stages.stage2.epochs=1; may be repeated."
    ),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("run")(run_recipe)
    app.command("prepare")(prepare_only)


def run_recipe(recipe: RecipeArg, run: RunOption = None, set_: SetOption = None, json_out: JsonFlag = False) -> None:
    """Do everything a recipe says: prepare, train its stages, evaluate. Done steps are skipped, an interrupted run goes on."""
    from ..pipeline import steps

    loaded, folder = _open(recipe, run, set_)
    out = console(json_out)
    summaries: dict[str, object] = {}
    for name, do in steps(loaded, folder):
        out.rule(f"[bold]{name}")
        start = time.perf_counter()
        result = do()
        took = "nothing has changed: kept" if result.skipped else f"{time.perf_counter() - start:.0f} s"
        out.print(f"[green]✓[/green] {name}: {took}")
        summaries[name] = {"skipped": result.skipped, **result.summary}
        if name == "evaluate":
            from ..evals.summary import tables

            out.print(*tables(dict(result.summary)))
    if json_out:
        print_json({"run": str(folder.path), "steps": summaries})
    else:
        _next_steps(folder, loaded)


def prepare_only(recipe: RecipeArg, run: RunOption = None, set_: SetOption = None, json_out: JsonFlag = False) -> None:
    """Only the data step: read, clean, scrub, split; with ledger, statistics and histograms."""
    from ..data.prepare import prepare

    loaded, folder = _open(recipe, run, set_)
    result = prepare(loaded, folder)
    if json_out:
        print_json({"run": str(folder.path), "skipped": result.skipped, **result.summary})
    else:
        console().print(
            f"[green]✓[/green] {'nothing has changed: kept' if result.skipped else 'prepared'} -> {folder.data.path}"
        )


def _open(recipe: str, run: Path | None, overrides: list[str] | None) -> tuple[Recipe, RunDir]:
    from ..pipeline import default_run
    from ..recipe_file import load_recipe
    from ..run import RunDir

    loaded = load_recipe(recipe, overrides or [])
    return loaded, RunDir.create(run or default_run(loaded), loaded)


def _next_steps(run: RunDir, recipe: Recipe) -> None:
    out = console()
    out.rule("[bold]next")
    out.print(f"  hearme chat {run.path}            talk to {recipe.persona.name}")
    if recipe.stages:
        first = next(iter(recipe.stages))
        out.print(f"  hearme chat {run.path}:base       the untuned base (or :{first})")
    out.print(f"  hearme compare {run.path}         the table again, with intervals")
    out.print(f"  {run.generations}   every answer of every model")
