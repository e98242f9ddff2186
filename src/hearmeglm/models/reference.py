"""RUN|MODEL, as every command takes it, resolved to what has to be loaded.

A shipped name (`jerry-270m`, `starter`), a run directory (`RUN`, `RUN:base`, `RUN:stage1`; by default its last finished
stage), a Hugging Face model or PEFT adapter directory, a `.gguf` file, an OpenAI-compatible server
(`http://host:port/v1#model`), or a hub id.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import ModelError, RunError
from ..files import read_json
from ..recipe import Recipe
from ..recipe_file import load_recipe
from ..run import RunDir
from .load import STARTER, check_hub_id

SHIPPED = Path(__file__).parent / "shipped"
"""Adapters that come with the package, one folder each, with the recipe that made them."""
ADAPTER, MODEL = "adapter", "model"
"""Folder of a stage's weights: a PEFT adapter, or the whole model after full tuning."""
RUNS = Path("runs")
"""Where `hearme run` puts runs unless told otherwise, relative to the working directory."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """What to load.

    Attributes:
        kind: `hf` (base directory or hub id, perhaps with an adapter), `gguf`, or `remote`.
        name: short name for tables and prompts.
        source: base (hf), file (gguf) or URL (remote).
        adapter: PEFT adapter directory, if any.
        template: template name, or `auto`.
        dry_multiplier: what a `Sampling` without its own gets: the recipe's.
    """

    kind: Literal["hf", "gguf", "remote"]
    name: str
    source: str
    adapter: Path | None = None
    template: str = "auto"
    trust_remote_code: bool = False
    dry_multiplier: float = 0.0


def resolve(ref: str | None) -> ModelRef:
    """Find what `ref` means; None is the shipped Jerry, else the newest finished run in `runs/`.

    Raises:
        ModelError: nothing fits.
        RunError: a run without the stage asked for.
    """
    if ref is None:
        return _default()
    if ref.startswith(("http://", "https://")):
        url, _, model = ref.partition("#")
        return ModelRef("remote", model or url, url)
    if ref == STARTER:
        return ModelRef("hf", STARTER, STARTER)
    if Path(ref).name == ref and (SHIPPED / ref / "adapter_config.json").is_file():
        return _adapter(SHIPPED / ref, ref)
    if ref.endswith(".gguf"):
        if not Path(ref).is_file():
            raise ModelError("expected a GGUF file, found nothing", where=ref)
        return ModelRef("gguf", Path(ref).stem, ref)
    folder, colon, stage = ref.rpartition(":")
    if colon and (Path(folder) / "recipe.yaml").is_file():
        return _run(RunDir.open(folder), stage)
    path = Path(ref)
    if (path / "recipe.yaml").is_file():
        return _run(RunDir.open(path), None)
    if (path / "adapter_config.json").is_file():
        return _adapter(path, path.name)
    if path.is_dir() and not (path / "config.json").is_file():
        raise ModelError("expected a run, a model or an adapter, found a folder with none of them", where=ref)
    if not path.is_dir():
        check_hub_id(ref)
    return ModelRef("hf", path.name, ref)


def weights_dir(recipe: Recipe, folder: Path) -> Path:
    """Where a stage leaves its weights in its folder: an adapter, or a whole model after full tuning."""
    return folder / (MODEL if recipe.lora.method == "full" else ADAPTER)


def stage_weights(run: RunDir, stage: str) -> tuple[str, Path | None]:
    """What a finished stage loads: the base and its adapter, or the fully tuned model and none.

    Raises:
        RunError: the stage is not finished.
    """
    if run.step(stage).manifest() is None:
        raise RunError(f"stage {stage!r} is not trained yet", where=str(run.path), hint=f"hearme train {run.path}")
    folder = weights_dir(run.recipe, run.step(stage).path)
    return (str(folder), None) if folder.name == MODEL else (run.recipe.base, folder)


def _run(run: RunDir, stage: str | None) -> ModelRef:
    recipe: Recipe = run.recipe
    name = run.path.resolve().name
    if stage is None:
        finished = [s for s in recipe.stages if run.step(s).manifest() is not None]
        if not finished:
            raise RunError("no stage of this run is trained yet", where=str(run.path), hint=f"hearme train {run.path}")
        stage = finished[-1]
    rest = recipe.template, recipe.trust_remote_code, recipe.evaluation.sampling.dry_multiplier or 0.0
    if stage == "base":
        return ModelRef("hf", f"{name}:base", recipe.base, None, *rest)
    if stage not in recipe.stages:
        raise RunError(f"expected one of base, {', '.join(recipe.stages)}, found {stage!r}", where=str(run.path))
    source, adapter = stage_weights(run, stage)
    return ModelRef("hf", f"{name}:{stage}", source, adapter, *rest)


def _adapter(path: Path, name: str) -> ModelRef:
    base = read_json(path / "adapter_config.json").get("base_model_name_or_path") or ""
    if not base:
        raise ModelError(
            "expected an adapter that names its base (base_model_name_or_path), found none", where=str(path)
        )
    dry = (
        load_recipe(path / "recipe.yaml").evaluation.sampling.dry_multiplier
        if (path / "recipe.yaml").is_file()
        else None
    )
    source = STARTER if Path(base).name == "gemma-3-270m" else base
    return ModelRef("hf", name, source, path, dry_multiplier=dry or 0.0)


def _default() -> ModelRef:
    if (SHIPPED / "jerry-270m" / "adapter_config.json").is_file():
        return _adapter(SHIPPED / "jerry-270m", "jerry-270m")
    for recipe in sorted(RUNS.glob("*/recipe.yaml"), key=lambda p: p.stat().st_mtime, reverse=True):
        try:
            return _run(RunDir.open(recipe.parent), None)
        except RunError:
            continue
    raise ModelError(
        "expected a model, found no finished run in runs/", hint="`hearme run demo` makes one, or name a model"
    )
