"""What a stage reports: the rows of the original's result tables."""

from __future__ import annotations

from typing import Any

from ..recipe import Stage
from .mix import Mix


def result_rows(
    log: list[dict[str, Any]],
    flos: float,
    seconds: float,
    schedule: Any,
    indices: list[int],
    mix: Mix,
    settings: Stage,
    world: int,
) -> dict[str, Any]:
    """Every row of the original's result tables, under transformers' names."""
    losses = [row["loss"] for row in log if "loss" in row]
    evals = [row for row in log if "eval_loss" in row]
    steps = log[-1]["step"] if log else 0
    examples = min(len(indices), steps * settings.batch_size * settings.accumulation * world)
    last = evals[-1] if evals else {}
    return {
        "epoch": round(steps / schedule.steps_per_epoch, 4),
        "steps": steps,
        "train_loss": sum(losses) / max(len(losses), 1),
        "eval_loss": min((row["eval_loss"] for row in evals), default=None)
        if settings.patience
        else last.get("eval_loss"),
        "train_runtime": seconds,
        "eval_runtime": last.get("eval_runtime"),
        "train_samples_per_second": examples / seconds,
        "train_steps_per_second": steps / seconds,
        "eval_samples_per_second": last.get("eval_samples_per_second"),
        "eval_steps_per_second": last.get("eval_steps_per_second"),
        "num_input_tokens_seen": next((int(r["tokens"]) for r in reversed(log) if "tokens" in r), 0),
        "tokens_per_second": next((r["tokens_per_second"] for r in reversed(log) if "tokens_per_second" in r), None),
        "total_flos": flos,
        "train_examples": len(mix.train),
        "valid_examples": len(mix.valid),
    }
