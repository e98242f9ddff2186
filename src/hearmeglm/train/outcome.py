"""What a stage reports: the rows of the original's result tables, and its peak memory."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
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


def give_memory_back() -> None:
    """After a stage: free its model, which the Trainer's cycles still hold, and let glibc return what it keeps (0.6 GB after a 270M)."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def memory_now(torch: Any) -> int:
    """Memory in use in bytes: of the GPU where one is used, else the resident size of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.memory_allocated())
    import psutil  # type: ignore[import-untyped]  # comes with accelerate

    return int(psutil.Process().memory_info().rss)


def peak_memory(torch: Any) -> int:
    """Peak memory in bytes: of the GPU where one is used, else the largest resident size of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
