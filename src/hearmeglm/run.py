"""A RunDir: the only place a run writes. A step's Manifest is written last, so its presence means complete.

RUN/recipe.yaml            every setting, defaults spelled out
RUN/data/                  train.jsonl valid.jsonl test.jsonl ledger.jsonl stats.json figures/ manifest.json
RUN/<stage>/               adapter/ checkpoints/ metrics.jsonl result.json loss.png manifest.json
RUN/generations.jsonl      every answer of every model      RUN/scores.jsonl   every number about them
RUN/evals/                 summary.json figures/ manifest.json
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import RunError
from .files import read_json, sha256_file, write_json
from .recipe import Recipe
from .recipe_file import load_recipe

PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "xllamacpp", "gguf")


@dataclass(frozen=True)
class Result:
    """What a step did: its summary (JSON-able), and whether it was skipped because nothing had changed."""

    step: str
    summary: Mapping[str, Any] = field(default_factory=dict)
    skipped: bool = False


@dataclass(frozen=True)
class Step:
    """One step's folder in a run and its manifest."""

    name: str
    path: Path

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of the completed step, or None."""
        return read_json(self.manifest_path) if self.manifest_path.is_file() else None

    def done(self, inputs: Mapping[str, str]) -> Result | None:
        """The earlier Result if the step is complete and was made from exactly these inputs (name -> digest)."""
        found = self.manifest()
        if found is None or found["inputs"] != dict(inputs):
            return None
        if any(not (self.path / f).is_file() for f in found["files"]):
            return None
        return Result(self.name, found["summary"], skipped=True)

    def begin(self) -> None:
        """Make the folder and withdraw an older manifest: from here until `finish` the step is incomplete."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.manifest_path.unlink(missing_ok=True)

    def finish(
        self, inputs: Mapping[str, str], summary: Mapping[str, Any], *, seed: int, files: tuple[str, ...] = ()
    ) -> Result:
        """Write the manifest. `files` are paths relative to the step; their sha256 is recorded."""
        write_json(
            self.manifest_path,
            {
                "step": self.name,
                "inputs": dict(inputs),
                "summary": dict(summary),
                "files": {f: sha256_file(self.path / f) for f in files},
                "seed": seed,
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
                "versions": versions(),
                "git_commit": git_commit(),
            },
        )
        return Result(self.name, summary)


@dataclass(frozen=True)
class RunDir:
    """A run's folder."""

    path: Path

    @classmethod
    def create(cls, path: Path | str, recipe: Recipe) -> RunDir:
        """Make the folder (or reuse it) and store the recipe.

        Raises:
            RunError: the folder holds something else than a run.
        """
        run = cls(Path(path))
        if run.path.exists() and not run.path.is_dir():
            raise RunError("expected a folder for the run, found a file", where=str(path), hint="choose another --run")
        if run.path.is_dir() and any(run.path.iterdir()) and not run.recipe_path.is_file():
            raise RunError(
                "expected an empty folder or an earlier run, found other files",
                where=str(path),
                hint="choose another --run",
            )
        recipe.save(run.recipe_path)
        return run

    @classmethod
    def open(cls, path: Path | str) -> RunDir:
        """An existing run.

        Raises:
            RunError: no run there.
        """
        run = cls(Path(path))
        if not run.recipe_path.is_file():
            raise RunError(
                "expected a run directory (with recipe.yaml), found none",
                where=str(path),
                hint="`hearme run RECIPE` makes one",
            )
        return run

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def recipe(self) -> Recipe:
        return load_recipe(self.recipe_path)

    def step(self, name: str) -> Step:
        return Step(name, self.path / name)

    @property
    def data(self) -> Step:
        return self.step("data")

    @property
    def evals(self) -> Step:
        return self.step("evals")

    @property
    def generations(self) -> Path:
        return self.path / "generations.jsonl"

    @property
    def scores(self) -> Path:
        return self.path / "scores.jsonl"


def versions() -> dict[str, str]:
    """Versions of Python, this package and the packages that decide numbers; absent ones are left out."""
    from . import __version__

    found = {"python": platform.python_version(), "hearmeglm": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of the checkout this package runs from (with `+` if it has changes), or None outside one."""
    here = Path(__file__).parent
    try:
        show = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return show.stdout.strip() or None
