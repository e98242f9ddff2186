"""Preference tuning (DPO, Rafailov et al. 2023, arXiv:2305.18290) on rated answers, through trl: a third stage that teaches Jerry from ratings.

The reference model is what the stage starts from (the adapter of the stage before, of which trl keeps a frozen copy).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, ModelError
from ..files import read_jsonl, write_json, write_jsonl
from ..models.reference import weights_dir
from ..models.template import Template
from ..recipe import Recipe
from ..types import Message, messages_from_json
from . import checkpoints
from .adapter import build_model, describe, load_weights, save_weights
from .arguments import training_arguments

if TYPE_CHECKING:
    from rich.console import Console


def read_pairs(path: Path, template: Template, tokenizer: Any, max_length: int) -> list[dict[str, list[int]]]:
    """Rated answers as token ids, the same ids as in training and chat.

    Raises:
        DataError: a row that is not `{"prompt": [messages], "chosen": text, "rejected": text}` (or, as the studio's votes and trl have
            it, a list of one message for a text), or no row at all.
    """
    rows = []
    for line, row in read_jsonl(path):
        try:
            prompt = list(messages_from_json(row["prompt"]))
            answers = [_answer(row[key]) for key in ("chosen", "rejected")]
            if not prompt or not all(isinstance(a, str) and a.strip() for a in answers):
                raise ValueError("an empty prompt or answer")
        except (KeyError, TypeError, ValueError) as err:
            raise DataError(
                f"expected prompt (messages), chosen and rejected (texts), found {err}", where=f"{path}:{line}"
            ) from None
        ids = template.encode_prompt(prompt, tokenizer)
        whole = [template.encode([*prompt, Message("assistant", a)], tokenizer) for a in answers]
        chosen, rejected = ([y for y in e.labels[len(ids) :] if y >= 0] for e in whole)
        if len(ids) + max(len(chosen), len(rejected)) <= max_length:
            rows.append({"prompt_ids": ids, "chosen_ids": chosen, "rejected_ids": rejected})
    if not rows:
        raise DataError(f"expected rated answers of at most {max_length} tokens, found none", where=str(path))
    return rows


def _answer(given: Any) -> Any:
    """The text of an answer that may be a list of one message."""
    return given[0]["content"] if isinstance(given, list) and len(given) == 1 else given


def train_preferences(
    recipe: Recipe, stage: str, folder: Path, start: Path | None, template: Template, tokenizer: Any, console: Console
) -> dict[str, Any]:
    """Tune on `stages.<stage>.preferences`, write adapter, metrics, loss curve and result; returns the summary.

    Raises:
        ModelError: trl is not installed.
    """
    try:
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer
    except ImportError:
        raise ModelError(
            "preference tuning needs trl",
            where=f"stages.{stage}.preferences",
            hint="pip install 'hearmeglm[preference]'",
        ) from None
    from transformers import PrinterCallback, set_seed

    from .curves import draw_loss
    from .trainer import Flow, Schedule, Sealing
    from .watch import Watch

    settings = recipe.stages[stage]
    rows = read_pairs(Path(settings.preferences or ""), template, tokenizer, settings.max_length)
    console.print(f"{stage}: {len(rows)} rated answers, DPO with beta {settings.beta}")

    class Ready(Sealing, DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset  # token ids already, made by the recipe's template

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            load_weights(self.model, Path(resume_from_checkpoint))  # the reference stays what the stage starts from

    set_seed(recipe.seed)
    root = folder / "checkpoints"
    last = checkpoints.newest(root)
    extra = {
        "beta": settings.beta,
        "max_length": settings.max_length,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "gradient_checkpointing": settings.checkpointing == "on",
    }
    args = training_arguments(recipe, stage, root, make=DPOConfig, **extra)
    model = build_model(recipe, settings, start, str(args.device))
    per_epoch = len(rows) / (settings.batch_size * settings.accumulation * args.world_size)
    save_steps = settings.save_steps or max(1, round(per_epoch))
    schedule = Schedule(-1, per_epoch, eval_steps=0, save_steps=save_steps, patience=None)  # trl counts the steps
    log = checkpoints.log_of(last)
    watch = Watch(stage, folder / "metrics.jsonl", console, log[-1].get("seconds", 0.0) if log else 0.0)
    trainer = Ready(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Flow(schedule), watch],
    )
    trainer.remove_callback(PrinterCallback)
    if last is not None:
        console.print(f"{stage}: goes on from step {checkpoints.step_of(last)}")
    try:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    finally:
        watch.close()
    seconds = watch.seconds
    log = [row for row in trainer.state.log_history if "loss" in row]
    result = {
        "epoch": trainer.state.epoch, "steps": trainer.state.global_step, "pairs": len(rows), "train_loss": sum(r["loss"] for r in log) / max(len(log), 1),
        "train_runtime": seconds, "train_samples_per_second": len(rows) * settings.epochs / seconds, "train_steps_per_second": trainer.state.global_step / seconds,
        "reward_accuracy": log[-1].get("rewards/accuracies") if log else None, "reward_margin": log[-1].get("rewards/margins") if log else None,
        "total_flos": trainer.state.total_flos, **describe(model),
    }  # fmt: skip
    if trainer.is_world_process_zero():
        if "ref" in getattr(model, "peft_config", {}):
            model.delete_adapter("ref")
        save_weights(model, weights_dir(recipe, folder), recipe)
        write_json(folder / "result.json", result)
        write_jsonl(folder / "metrics.jsonl", trainer.state.log_history)
        draw_loss(log, folder / "loss.png", f"{recipe.name}: {stage} (DPO)")
    return result
