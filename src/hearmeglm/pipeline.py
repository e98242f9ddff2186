"""Run a recipe from raw dialogues to the before/after table; each step is skipped if nothing it needs has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from .data.prepare import prepare
from .evals.evaluate import evaluate
from .recipe import Recipe
from .run import Result, RunDir
from .train.stage import train_stage


def steps(recipe: Recipe, run: RunDir) -> Iterator[tuple[str, Callable[[], Result]]]:
    """The steps of a run in order: name, and what does it."""
    yield "prepare", lambda: prepare(recipe, run)
    for stage in recipe.stages:
        yield stage, lambda stage=stage: train_stage(recipe, run, stage)  # type: ignore[misc]
    yield "evaluate", lambda: evaluate(recipe, run)


def default_run(recipe: Recipe) -> Path:
    """Where a recipe runs unless told otherwise: `runs/<name>` in the working directory."""
    return Path("runs") / recipe.name
