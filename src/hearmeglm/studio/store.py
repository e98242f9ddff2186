"""The runs of a folder: list, make, edit, rename, archive. Everything is read from disk each time, so any number of browsers agree."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import HearmeError, RecipeError, RunError
from ..recipe import Recipe, parse_recipe
from ..recipe_file import load_recipe, recipes_dir
from ..run import RunDir
from . import jobs

ARCHIVE = ".archive"


@dataclass(frozen=True)
class RunInfo:
    """One line of the list of runs; `problem` says why a run cannot be opened."""

    name: str
    path: Path
    modified: float
    bytes: int
    steps: dict[str, bool]
    description: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Store:
    """Runs below `root`."""

    root: Path

    def names(self) -> list[str]:
        """Names of the runs, the one changed last first."""
        found = [p.parent for p in self.root.glob("*/recipe.yaml") if not p.parent.name.startswith(".")]
        return [p.name for p in sorted(found, key=lambda p: (p / "recipe.yaml").stat().st_mtime, reverse=True)]

    def open(self, name: str | None) -> RunDir:
        """The run of that name.

        Raises:
            RunError: none is chosen, or there is none of that name.
        """
        if not name:
            raise RunError("no run is chosen", hint="choose one above, or create one")
        return RunDir.open(self.root / _checked(name))

    def list(self) -> list[RunInfo]:
        """Every run with its finished steps and its size on disk."""
        return [self._info(self.root / name) for name in self.names()]

    def create(self, name: str, recipe: Recipe) -> RunDir:
        """A new run with this recipe.

        Raises:
            RunError: the name is taken or no name for a folder.
        """
        path = self.root / _checked(name)
        if path.exists():
            raise RunError("expected a new name, found a run that has it", where=name, hint="choose another name")
        return RunDir.create(path, recipe.model_copy(update={"name": name}))

    def edit(self, name: str, changes: Mapping[str, Any]) -> bool:
        """Change settings (`key.path` -> value) of a run's recipe; nothing is written unless the whole recipe is right.

        Returns:
            Whether anything was different.

        Raises:
            RecipeError: the recipe would have faults (all of them at once).
            RunError: a job is at work with this recipe.
        """
        run = self.open(name)
        with self._locked(run.path):
            tree = run.recipe.model_dump(mode="json")
            for path, value in changes.items():
                _put(tree, path, value)
            return self._save(run, parse_recipe(tree, where=name))

    def replace(self, name: str, text: str) -> bool:
        """Like `edit`, with the whole recipe as YAML."""
        run = self.open(name)
        try:
            tree = yaml.safe_load(text)
        except yaml.YAMLError as err:
            raise RecipeError(f"expected YAML, found {err}", where=name) from None
        if not isinstance(tree, dict):
            raise RecipeError(f"expected a mapping of recipe keys, found {type(tree).__name__}", where=name)
        with self._locked(run.path):
            return self._save(run, parse_recipe(tree, where=name))

    def rename(self, name: str, new: str) -> None:
        """Give a run another name (its folder's).

        Raises:
            RunError: a job is at work in it, or the name is taken.
        """
        run = self.open(name)
        target = self.root / _checked(new)
        if target.exists():
            raise RunError("expected a new name, found a run that has it", where=new, hint="choose another name")
        _idle(run)
        run.path.rename(target)

    def archive(self, name: str) -> Path:
        """Move a run out of the list, to `.archive/` beside it; nothing is deleted."""
        run = self.open(name)
        _idle(run)
        target = self.root / ARCHIVE / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        target.parent.mkdir(exist_ok=True)
        shutil.move(run.path, target)
        return target

    def _save(self, run: RunDir, recipe: Recipe) -> bool:
        if recipe == run.recipe:
            return False
        _idle(run)
        recipe.save(run.recipe_path)
        return True

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        with open(path / ".edit.lock", "w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield

    def _info(self, path: Path) -> RunInfo:
        modified, size = path.stat().st_mtime, disk_use(path)
        try:
            recipe = RunDir.open(path).recipe
        except HearmeError as err:
            return RunInfo(path.name, path, modified, size, {}, problem=str(err))
        return RunInfo(path.name, path, modified, size, steps_done(RunDir(path), recipe), recipe.description)


def steps_done(run: RunDir, recipe: Recipe) -> dict[str, bool]:
    """The run's steps in order, and whether each is complete."""
    return {name: run.step(name).manifest_path.is_file() for name in ("data", *recipe.stages, "evals")}


def disk_use(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(os.lstat(os.path.join(at, f)).st_size for at, _, files in os.walk(path) for f in files)


def recipe_choices() -> dict[str, Path]:
    """Name -> file of the shipped recipes and of those in `recipes/` of the working directory."""
    found = {p.stem: p for p in sorted(recipes_dir().glob("*.yaml"))}
    return found | {p.stem: p for p in sorted(Path("recipes").glob("*.yaml"))}


def load_choice(name: str) -> Recipe:
    """A recipe by the name of `recipe_choices`, or a file's path."""
    return load_recipe(recipe_choices().get(name, name))


def _checked(name: str) -> str:
    name = name.strip()
    if not name or name.startswith(".") or len(name) > 80 or any(c in name for c in "/\\\0\n"):
        raise RunError(
            f"expected a name for a folder (no slash, no leading dot), found {name!r}", hint="for example jerry-2"
        )
    return name


def _idle(run: RunDir) -> None:
    if busy := jobs.running(run.path):
        raise RunError(f"{busy.step!r} is at work in this run", where=run.path.name, hint="wait, or stop it first")


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for part in parents:
        tree = tree[part]
    tree[last] = value
