"""Put a run's tuned adapter into the package, if it beats the one that is there: python scripts/ship.py RUN [--name jerry-270m]

Written to src/hearmeglm/models/shipped/NAME: the bfloat16 adapter, the model card, the recipe of the run (without this machine's
paths) and `results.json`, the headline numbers. A run that went on from the adapter that is there (`lora.start`) leaves that one's recipe as `1.yaml`, the next as `2.yaml`: run in this
order, in `runs/1`, `runs/2`, …, they lead to it again. An adapter that is already there is replaced only by one with a lower held-out loss; the same one gets a new card and new numbers.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from hearmeglm.files import read_json, sha256_file, write_json, write_text
from hearmeglm.models.reference import SHIPPED
from hearmeglm.recipe import parse_recipe
from hearmeglm.report.cards import HUB_BASE, model_card
from hearmeglm.report.collect import collect
from hearmeglm.run import RunDir

LIMIT_BYTES = 32_000_000


def portable(tree: dict[str, Any], earlier: int) -> dict[str, Any]:
    """The recipe with its paths as a reader elsewhere would have them, after so many earlier runs."""
    if tree["lora"]["start"]:
        tree["lora"]["start"] = f"runs/{earlier}"
    for name, source in tree["data"]["sources"].items():
        path = source.get("path")
        if path:
            source["path"] = f"data/{name}" if not Path(path).suffix else f"data/emollm/{Path(path).name}"
    return tree


def main() -> None:
    """Copy, or say why not."""
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("run", type=Path)
    args.add_argument("--name", default="jerry-270m", help="the name that users will give")
    opt = args.parse_args()
    run = RunDir.open(opt.run)
    stage = list(run.recipe.stages)[-1]
    adapter, folder = run.step(stage).path / "adapter", SHIPPED / opt.name
    summary = read_json(run.evals.path / "summary.json")["models"]
    found = {"run": run.recipe.name, "stage": stage, "models": summary}
    there = folder / "results.json"
    if there.is_file():
        shipped = read_json(there)
        before = shipped["models"][shipped["stage"]]["loss"]
        same = shipped["sha256"] == sha256_file(
            adapter / "adapter_model.safetensors"
        )  # then its card and numbers are refreshed
        if summary[stage]["loss"] >= before and not same:
            sys.exit(f"kept: held-out loss {before} there, {summary[stage]['loss']} here")
    weights = adapter / "adapter_model.safetensors"
    if weights.stat().st_size > LIMIT_BYTES:
        sys.exit(f"expected at most {LIMIT_BYTES} bytes, found {weights.stat().st_size} -> lower lora.rank")
    folder.mkdir(parents=True, exist_ok=True)
    earlier = len(list(folder.glob("[0-9].yaml")))
    if run.recipe.lora.start and sha256_file(weights) != sha256_file(folder / weights.name):
        if sha256_file(Path(run.recipe.lora.start) / weights.name) != sha256_file(folder / weights.name):
            sys.exit(f"expected a run that went on from {folder}, found one from {run.recipe.lora.start}")
        earlier += 1
        shutil.copyfile(folder / "recipe.yaml", folder / f"{earlier}.yaml")
    shutil.copyfile(weights, folder / weights.name)
    config = read_json(adapter / "adapter_config.json")
    config["base_model_name_or_path"] = HUB_BASE.get(run.recipe.base, run.recipe.base)
    write_json(folder / "adapter_config.json", config)
    write_json(there, {**found, "sha256": sha256_file(folder / weights.name)})
    tree = portable(run.recipe.model_dump(mode="json"), earlier)
    write_text(folder / "recipe.yaml", yaml.safe_dump(tree, allow_unicode=True, sort_keys=False))
    write_text(folder / "README.md", model_card(replace(collect(run), recipe=parse_recipe(tree))))
    print(f"{folder}: {weights.stat().st_size / 1e6:.1f} MB, held-out loss {summary[stage]['loss']}")


if __name__ == "__main__":
    main()
