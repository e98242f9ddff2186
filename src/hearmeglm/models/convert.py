"""Write a checkpoint piece by piece: streamed, resumable, atomic, verified.

What is to become of which source is a *plan*: rows under another name (a converter), weights with an adapter folded in
(an export). The rest is here.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

from ..errors import ModelError
from ..files import atomic_open, read_json, sha256_json, write_json
from .convert_io import SafetensorsFile, Spec, TensorFile, write_safetensors

SHARD_BYTES = 2 << 30
SPOT_CHECKS = 8
"""Tensors that are compared with their source byte by byte at the end, beside every name, shape and size."""
STATE = ".converting.json"


class Piece(Protocol):
    """What becomes one tensor."""

    @property
    def spec(self) -> Spec:
        """Number format and shape."""
        ...

    @property
    def paths(self) -> list[Path]:
        """Files that it is made from."""
        ...

    @property
    def key(self) -> list[Any]:
        """What is made from them (JSON-able)."""
        ...

    def read(self) -> Iterator[bytes]:
        """Its bytes, in blocks."""
        ...


@dataclass(frozen=True, slots=True)
class Slice:
    """A Piece: rows `start` to `stop` of the tensor `name` in `file`."""

    file: TensorFile
    name: str
    start: int
    stop: int

    @property
    def spec(self) -> Spec:
        whole = self.file.specs[self.name]
        return Spec(whole.dtype, (self.stop - self.start, *whole.shape[1:]))

    @property
    def paths(self) -> list[Path]:
        return [self.file.path]

    @property
    def key(self) -> list[Any]:
        return [self.name, self.start, self.stop]

    def read(self) -> Iterator[bytes]:
        return self.file.rows(self.name, self.start, self.stop)


Plan = Mapping[str, Piece]
"""Target name -> what becomes it."""


def convert(
    plan: Plan,
    target: Path,
    others: Callable[[Path], None],
    *,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the planned tensors and what `others` adds into `target`.

    The work goes on in `target` + ".part", whose finished shards are kept when it is interrupted; it becomes `target`
    only when everything is there and verified.

    Args:
        others: called with the folder to write config, tokenizer and notices into.
        progress: called with bytes done and bytes in all.

    Returns:
        Bytes of tensors.

    Raises:
        ModelError: the target exists, another conversion has left its parts there, or the result does not verify.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ModelError("expected a folder that is not there yet, found one", where=str(target), hint="choose another")
    shards = split(plan, shard_bytes)
    part = target.with_name(f"{target.name}.part")
    _bind(part, plan, shard_bytes)
    total = sum(s.spec.nbytes for s in plan.values())
    done = 0
    for file, names in shards.items():
        specs = {n: plan[n].spec for n in names}
        if not _complete(part / file, specs):

            def blocks(names: list[str] = names, start: int = done) -> Iterator[bytes]:
                at = start
                for name in names:
                    for block in plan[name].read():
                        at += len(block)
                        yield block
                        if progress:
                            progress(at, total)

            with atomic_open(part / file, "wb") as out:
                write_safetensors(out, specs, blocks())
        done += sum(s.nbytes for s in specs.values())
        if progress:
            progress(done, total)
    if len(shards) > 1:
        weight_map = {n: f for f, names in shards.items() for n in names}
        write_json(part / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    others(part)
    verify(plan, part, list(shards))
    (part / STATE).unlink()
    if target.is_dir():
        target.rmdir()
    os.replace(part, target)
    return total


def split(plan: Plan, shard_bytes: int) -> dict[str, list[str]]:
    """File name -> tensor names, in order, each file at most `shard_bytes` (or one tensor)."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, piece in plan.items():
        if groups[-1] and size + piece.spec.nbytes > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += piece.spec.nbytes
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    return {f"model-{i:05}-of-{len(groups):05}.safetensors": names for i, names in enumerate(groups, 1)}


def verify(plan: Plan, folder: Path, files: list[str]) -> None:
    """Every name, format and shape, no tensor too many, and some tensors byte by byte.

    Raises:
        ModelError: naming the first difference.
    """
    written = {n: f for f in (SafetensorsFile(folder / file) for file in files) for n in f.specs}
    if written.keys() != plan.keys():
        odd = sorted(written.keys() ^ plan.keys())
        raise ModelError(f"the written checkpoint has other tensors than planned: {', '.join(odd[:3])}")
    for name, piece in plan.items():
        if written[name].specs[name] != piece.spec:
            raise ModelError(f"{name}: expected {piece.spec}, wrote {written[name].specs[name]}", where=str(folder))
    for name in random.Random(len(plan)).sample(list(plan), min(SPOT_CHECKS, len(plan))):
        copy = written[name].rows(name, 0, plan[name].spec.shape[0])
        if not _same(plan[name].read(), copy):
            raise ModelError(f"{name} differs from its source", where=str(folder), hint="check the disk; convert again")


def _same(a: Iterator[bytes], b: Iterator[bytes]) -> bool:
    return all(x == y for x, y in zip_longest(a, b))


def _complete(path: Path, specs: Mapping[str, Spec]) -> bool:
    if not path.is_file():
        return False
    try:
        return dict(SafetensorsFile(path).specs) == dict(specs)
    except ModelError:
        return False


def _bind(part: Path, plan: Plan, shard_bytes: int) -> None:
    """Take over the parts of an interrupted conversion of the same sources; those of another one are thrown away."""
    sources = {str(p.resolve()): p.stat() for p in sorted({p for piece in plan.values() for p in piece.paths})}
    state: dict[str, Any] = {
        "sources": {p: [st.st_size, st.st_mtime_ns] for p, st in sorted(sources.items())},
        "plan": sha256_json({n: piece.key for n, piece in plan.items()}),
        "shard_bytes": shard_bytes,
    }
    if part.is_dir():
        if (part / STATE).is_file() and read_json(part / STATE) == state:
            return
        if any(part.iterdir()) and not (part / STATE).is_file():
            raise ModelError(
                "expected no folder or an interrupted conversion, found other files", where=str(part), hint="move it"
            )
        shutil.rmtree(part)
    part.mkdir(parents=True)
    write_json(part / STATE, state)


@contextmanager
def console_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, fed with bytes done and bytes in all."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
