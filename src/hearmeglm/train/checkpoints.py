"""Checkpoints that are whole or do not count.

A checkpoint folder is written by the Trainer and then *sealed*: `seal.json`, written last and atomically, holds the size and sha256 of every file. Only a folder whose
seal verifies is ever resumed from; whatever else lies there (a crash, a full disk, a damaged file) is removed at the next start.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from ..files import read_json, sha256_file, write_json

PREFIX = "checkpoint-"
SEAL = "seal.json"
KEEP = 2
"""Newest checkpoints kept beside the best one."""


def seal(folder: Path) -> None:
    """Flush every file of a finished checkpoint to disk and write its seal."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as data:
                os.fsync(data.fileno())
    write_json(folder / SEAL, {name: sha256_file(folder / name) for name in _files(folder)})


def verified(folder: Path) -> bool:
    """Whether the checkpoint is sealed and every byte is as it was sealed."""
    if not (folder / SEAL).is_file():
        return False
    with contextlib.suppress(Exception):
        wanted: dict[str, str] = read_json(folder / SEAL)
        return bool(wanted) and all((folder / n).is_file() and sha256_file(folder / n) == d for n, d in wanted.items())
    return False


def newest(root: Path) -> Path | None:
    """The newest checkpoint under `root` that verifies."""
    return next((folder for folder in reversed(_folders(root)) if verified(folder)), None)


def step_of(folder: Path) -> int:
    """Optimizer step at which a checkpoint was taken."""
    return int(folder.name.removeprefix(PREFIX))


def log_of(folder: Path | None) -> list[dict[str, Any]]:
    """The Trainer's log up to a checkpoint; empty for none."""
    log: list[dict[str, Any]] = read_json(folder / "trainer_state.json")["log_history"] if folder else []
    return log


def at(root: Path, step: int) -> Path:
    """Folder of the checkpoint of a step."""
    return root / f"{PREFIX}{step}"


def prune(root: Path, best: int | None) -> None:
    """Remove all but the newest `KEEP` sealed checkpoints and the one at step `best`."""
    sealed = [f for f in _folders(root) if (f / SEAL).is_file()]
    for folder in sealed[:-KEEP]:
        if step_of(folder) != best:
            remove(folder)


def clean(root: Path) -> None:
    """Remove checkpoints that do not verify."""
    for folder in _folders(root):
        if not verified(folder):
            remove(folder)


def remove(folder: Path) -> None:
    """Remove a checkpoint; its seal goes first, so that a half-removed one never counts."""
    (folder / SEAL).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def bind(root: Path, inputs: dict[str, str]) -> None:
    """Make `root` the checkpoint folder for these inputs; checkpoints of other inputs are removed."""
    marker = root / "inputs.json"
    if root.is_dir() and (not marker.is_file() or _read(marker) != inputs):
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    if not marker.is_file():
        write_json(marker, inputs)


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except Exception:
        return None


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != SEAL)


def _folders(root: Path) -> list[Path]:
    found = [p for p in root.glob(f"{PREFIX}*") if p.is_dir() and p.name.removeprefix(PREFIX).isdigit()]
    return sorted(found, key=step_of)


def discard(root: Path) -> None:
    """Remove the checkpoint folder of a stage that is complete."""
    shutil.rmtree(root, ignore_errors=True)
