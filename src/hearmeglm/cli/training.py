"""Commands: train, plan, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import JsonFlag, console, print_json


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("train")(train)


def train(
    run: Annotated[Path, typer.Argument(help="Run directory with prepared data.")],
    stage: Annotated[
        str | None, typer.Option("--stage", help="Train only this stage (default: all, in order).")
    ] = None,
    json_mode: JsonFlag = False,
) -> None:
    """Train the stages of a run; done stages are skipped, an interrupted one goes on."""
    from ..run import RunDir
    from ..train.stage import train_stage

    folder = RunDir.open(run)
    recipe = folder.recipe
    results = [train_stage(recipe, folder, name) for name in ([stage] if stage else recipe.stages)]
    if json_mode:
        print_json([{"stage": r.step, "skipped": r.skipped, **r.summary} for r in results])
        return
    out = console()
    for r in results:
        out.print(f"{r.step}: nothing has changed, nothing to do" if r.skipped else f"{r.step}: done")
        for key in (
            "epoch",
            "steps",
            "train_loss",
            "eval_loss",
            "train_runtime",
            "eval_runtime",
            "train_samples_per_second",
            "train_steps_per_second",
            "num_input_tokens_seen",
            "total_flos",
        ):
            out.print(f"  {key:26} {r.summary.get(key)}")
