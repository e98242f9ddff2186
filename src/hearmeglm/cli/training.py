"""Commands: train, plan, doctor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .common import JsonFlag, console, print_json


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    for command in (train, plan, doctor):
        app.command()(command)


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
    if int(os.environ.get("RANK", "0")) > 0:
        return  # under torchrun the first process speaks for all
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


def plan(
    recipe: Annotated[str, typer.Argument(help="Recipe file, name of a shipped recipe, or a run directory.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key: key.path=value (repeatable).")
    ] = None,
    json_mode: JsonFlag = False,
) -> None:
    """What training will take on this machine: parameters, tokens, steps, time, peak memory, and whether it fits."""
    from ..recipe_file import load_recipe
    from ..run import RunDir
    from ..train.plan import plan as make_plan

    folder = RunDir.open(recipe) if (Path(recipe) / "recipe.yaml").is_file() else None
    made = make_plan(load_recipe(folder.recipe_path if folder else recipe, tuple(overrides or ())), folder)
    if json_mode:
        print_json(made.to_json())
        return
    out = console()
    out.print(f"base {made.base} on {made.device}: {made.parameters:,} parameters, {made.trainable:,} trained")
    for s in made.stages:
        out.print(
            f"{s.stage}: {s.examples} examples, {s.tokens:,} tokens ({s.supervised_tokens:,} supervised), {s.steps} steps, {s.evaluations} evaluations; {_time(s.seconds)}, peak {s.peak_bytes / 1e9:.1f} GB"
        )
    speed = f", probe {made.tokens_per_second:.0f} tokens/s" if made.tokens_per_second else ""
    out.print(
        f"in all {_time(made.seconds)}{speed}; memory {made.memory['available'] / 1e9:.1f} of {made.memory['total'] / 1e9:.1f} GB free: it {'fits' if made.fits else 'does not fit'}"
    )
    for name, rows in made.table.items():
        out.print(f"\nGB for sequences of 1,024 tokens, {name}:")
        out.print(f"{'weights':9}{'checkpointing':15}" + "".join(f"{'b=' + b:>8}" for b in rows[0]["gb"]))
        for row in rows:
            out.print(
                f"{row['weights']:9}{'on' if row['checkpointing'] else 'off':15}"
                + "".join(f"{gb:8.1f}" for gb in row["gb"].values())
            )
    for note in made.notes:
        out.print(f"note: {note}")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "time unknown"
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def doctor(json_mode: JsonFlag = False) -> None:
    """What this machine has, what is missing for what, and how to get it."""
    from ..train.doctor import as_json, examine

    findings = examine()
    if json_mode:
        print_json(as_json(findings))
        return
    out = console()
    marks = {"ok": "✓", "missing": "✗", "note": "·"}
    for f in findings:
        tail = f" — for {f.needed_for}" if f.needed_for and f.state != "ok" else ""
        out.print(f"{marks[f.state]} {f.name}: {f.found}{tail}{f' -> {f.hint}' if f.hint else ''}", markup=False)
