"""Writers: OpenAI messages, ShareGPT, Alpaca, with what LLaMA-Factory needs to run on them, so that nobody is locked in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import DataError
from ..files import read_jsonl, write_json, write_jsonl, write_text
from ..recipe import Recipe, Stage
from ..run import RunDir
from ..types import Dialogue
from .split import SPLITS

FORMATS = ("openai", "sharegpt", "alpaca")
_SHAREGPT = {"user": "human", "assistant": "gpt"}
_DTYPES = {"bf16": {"bf16": True}, "fp16": {"fp16": True}, "fp32": {}, "auto": {"bf16": True}}


def to_openai(dialogue: Dialogue) -> dict[str, Any]:
    """`{"messages": [{"role", "content"}]}`."""
    return {"messages": [m.to_json() for m in dialogue.messages]}


def to_sharegpt(dialogue: Dialogue) -> dict[str, Any]:
    """`{"conversations": [{"from", "value"}], "system"}`."""
    system = "\n".join(m.content for m in dialogue.messages if m.role == "system")
    turns = [{"from": _SHAREGPT[m.role], "value": m.content} for m in dialogue.messages if m.role != "system"]
    return {"conversations": turns, "system": system}


def to_alpaca(dialogue: Dialogue) -> dict[str, Any]:
    """`{"instruction", "input", "output", "history": [[question, answer]], "system"}`; the last exchange is the instruction."""
    system = "\n".join(m.content for m in dialogue.messages if m.role == "system")
    turns = [m.content for m in dialogue.messages if m.role != "system"]
    pairs = [list(pair) for pair in zip(turns[::2], turns[1::2], strict=False)]
    question, answer = pairs[-1]
    return {"instruction": question, "input": "", "output": answer, "history": pairs[:-1], "system": system}


WRITERS = {"openai": to_openai, "sharegpt": to_sharegpt, "alpaca": to_alpaca}


def dataset_info(name: str, file: str, format: str) -> dict[str, Any]:
    """The entry of LLaMA-Factory's `dataset_info.json` for one exported file (keys as its data/README.md documents them)."""
    if format == "alpaca":
        columns = {
            "prompt": "instruction",
            "query": "input",
            "response": "output",
            "system": "system",
            "history": "history",
        }
        return {name: {"file_name": file, "columns": columns}}
    if format == "sharegpt":
        return {
            name: {
                "file_name": file,
                "formatting": "sharegpt",
                "columns": {"messages": "conversations", "system": "system"},
            }
        }
    tags = {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    }
    return {name: {"file_name": file, "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}}


def llamafactory_yaml(
    recipe: Recipe, stage_name: str, stage: Stage, datasets: Sequence[str], valid: str, adapter: str | None, folder: str
) -> str:
    """A LLaMA-Factory training file with the settings of one stage of a recipe.

    Args:
        adapter: output folder of the stage before, whose adapter is continued.
        folder: where the exported data lie.
    """
    targets = recipe.lora.targets if isinstance(recipe.lora.targets, str) else ",".join(recipe.lora.targets)
    values: dict[str, Any] = {
        "model_name_or_path": "google/gemma-3-270m" if recipe.base == "starter" else recipe.base,
        "template": {"chatglm3": "chatglm3", "gemma": "gemma", "auto": "default"}.get(recipe.template, recipe.template),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full" if recipe.lora.method == "full" else "lora",
        "lora_rank": recipe.lora.rank,
        "lora_alpha": recipe.lora.alpha,
        "lora_dropout": recipe.lora.dropout,
        "lora_target": "all" if targets == "all-linear" else targets,
        **({"adapter_name_or_path": adapter, "create_new_adapter": False} if adapter else {}),
        "dataset_dir": folder,
        "dataset": ",".join(datasets),
        "eval_dataset": valid,
        "cutoff_len": stage.max_length,
        "output_dir": f"saves/{recipe.name}/{stage_name}",
        "per_device_train_batch_size": stage.batch_size,
        "gradient_accumulation_steps": stage.accumulation,
        "learning_rate": stage.learning_rate,
        "num_train_epochs": stage.epochs,
        **({"max_steps": stage.max_steps} if stage.max_steps else {}),
        "lr_scheduler_type": stage.scheduler,
        "warmup_ratio": stage.warmup,
        "weight_decay": stage.weight_decay,
        "max_grad_norm": stage.max_grad_norm,
        "optim": {"adamw": "adamw_torch", "adafactor": "adafactor", "sgd": "sgd"}[stage.optimizer],
        **_DTYPES[stage.dtype],
        "packing": False,
        "seed": recipe.seed,
        "logging_steps": 5,
        "save_strategy": "epoch",
        "eval_strategy": "epoch",
        "plot_loss": True,
        "report_to": "none",
    }
    head = f"# llamafactory-cli train {stage_name}.yaml\n# Written by `hearme data export` from the recipe {recipe.name!r}; the same data and settings.\n"
    if recipe.lora.method in ("rslora", "dora", "pissa"):
        values |= {"rslora": {"use_rslora": True}, "dora": {"use_dora": True}, "pissa": {"pissa_init": True}}[
            recipe.lora.method
        ]
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def export_run(run: RunDir, out: Path, format: str = "sharegpt") -> dict[str, Any]:
    """Write a run's prepared data for other tools: the splits, `dataset_info.json`, and a LLaMA-Factory YAML for each stage.

    Each source is a data set of its own, so that a stage's mix can be chosen by name; a weight is written as a sampling size
    (`num_samples`), which LLaMA-Factory draws with repetition when it exceeds the data.

    Returns:
        `{"format", "files": {name: dialogues}, "stages": [yaml files]}`.

    Raises:
        DataError: an unknown format, or a run whose data are not prepared.
    """
    if format not in WRITERS:
        raise DataError(
            f"expected an export format, found {format!r}", where="--format", hint=f"one of {', '.join(FORMATS)}"
        )
    if run.data.manifest() is None:
        raise DataError(
            "expected prepared data, found none", where=str(run.data.path), hint="run `hearme prepare` first"
        )
    recipe, files, info = run.recipe, dict[str, int](), dict[str, Any]()
    for split in SPLITS:
        by_source: dict[str, list[Dialogue]] = {}
        for _, row in read_jsonl(run.data.path / f"{split}.jsonl"):
            dialogue = Dialogue.from_json(row)
            by_source.setdefault(dialogue.source, []).append(dialogue)
        parts = by_source if split == "train" else {"all": [d for ds in by_source.values() for d in ds]}
        for source, dialogues in parts.items():
            name = split if source == "all" else f"{split}_{source}"
            files[name] = write_format(out / f"{name}.json", dialogues, format)
            info |= dataset_info(name, f"{name}.json", format)
    stages = []
    before: str | None = None
    for stage_name, stage in recipe.stages.items():
        names = []
        for source, weight in stage.mix.items():
            base = f"train_{source}"
            if base not in files or weight == 0:
                continue
            name = base if weight == 1 else f"{base}_x{weight:g}"
            if weight != 1:
                info[name] = {**info[base], "num_samples": max(1, round(files[base] * weight))}
            names.append(name)
        write_text(
            out / f"{stage_name}.yaml", llamafactory_yaml(recipe, stage_name, stage, names, "valid", before, ".")
        )
        stages.append(f"{stage_name}.yaml")
        before = f"saves/{recipe.name}/{stage_name}"
    write_json(out / "dataset_info.json", info)
    return {"format": format, "files": files, "stages": stages}


def write_format(path: Path, dialogues: Iterable[Dialogue], format: str) -> int:
    """Write dialogues as one JSON list (`.json`) or JSON Lines (`.jsonl`); returns their number."""
    rows = [WRITERS[format](d) for d in dialogues]
    if path.suffix == ".jsonl":
        return write_jsonl(path, rows)
    write_json(path, rows)
    return len(rows)
