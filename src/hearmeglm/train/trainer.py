"""The Trainer of a stage: transformers' own, with a fixed order of examples, sealed checkpoints and an exact evaluation.

What happens at a step (evaluate, save, stop) is decided by `Schedule` from the log alone, so that a training which was killed and goes on decides the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from ..errors import TrainingDiverged
from ..models.template import IGNORE, Encoded
from . import checkpoints

EXPLODED = 3.0
"""Nats by which the mean loss of the last five steps may rise above its lowest value before training counts as diverged."""


@dataclass(frozen=True)
class Schedule:
    """When to evaluate, save and stop.

    Attributes:
        steps: optimizer steps in all.
        steps_per_epoch: as a number, not rounded.
        eval_steps, save_steps: every so many steps; 0 for never (the last step always counts).
        patience: evaluations without improvement before training stops; None for never.
    """

    steps: int
    steps_per_epoch: float
    eval_steps: int
    save_steps: int
    patience: int | None

    def evaluates(self, step: int) -> bool:
        """Whether the checkpoint after `step` is evaluated."""
        return self.eval_steps > 0 and (step % self.eval_steps == 0 or step == self.steps)

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is written after `step`."""
        return self.evaluates(step) or (self.save_steps > 0 and step % self.save_steps == 0) or step == self.steps

    def stops(self, log: Sequence[dict[str, Any]]) -> bool:
        """Early stopping: no better evaluation loss within the last `patience` evaluations."""
        losses = [row["eval_loss"] for row in log if "eval_loss" in row]
        return (
            self.patience is not None and bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self.patience
        )


def best_step(log: Sequence[dict[str, Any]]) -> int | None:
    """Step of the lowest evaluation loss (the earliest of equals)."""
    rows = [row for row in log if "eval_loss" in row]
    return int(min(rows, key=lambda row: row["eval_loss"])["step"]) if rows else None


def diverged(log: Sequence[dict[str, Any]]) -> str | None:
    """Why the training loss shows divergence, or None."""
    losses = [row["loss"] for row in log if "loss" in row]
    if losses and not math.isfinite(losses[-1]):
        return f"the loss became {losses[-1]}"
    means = [sum(losses[i - 5 : i]) / 5 for i in range(5, len(losses) + 1)]
    if means and means[-1] > min(means) + EXPLODED:
        return f"the mean loss of five steps rose from {min(means):.2f} to {means[-1]:.2f}"
    return None


class Sealing(Trainer):  # type: ignore[misc]
    """A Trainer whose checkpoints are whole or do not count (see `checkpoints`)."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write, seal, then drop old checkpoints; a checkpoint that cannot be finished is removed again."""
        root = Path(self.args.output_dir)
        folder = checkpoints.at(root, self.state.global_step)
        if checkpoints.verified(folder):
            return
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                checkpoints.seal(folder)
                checkpoints.prune(root, best_step(self.state.log_history))
        except BaseException as err:
            if self.is_world_process_zero():
                checkpoints.remove(folder)
            if not isinstance(err, OSError) and "No space left" in str(
                err
            ):  # safetensors and torch raise their own types
                raise OSError(28, "No space left on device", str(folder)) from None
            raise
        self.accelerator.wait_for_everyone()


class StageTrainer(Sealing):
    """Trainer with the stage's schedule.

    Args:
        schedule: when to evaluate, save and stop.
        collate: examples to one micro-batch.
        train: examples in the order in which they are seen.
        valid: held-out examples.
        on_evaluate: called with the step after each evaluation (on every process).
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        schedule: Schedule,
        collate: Callable[[Sequence[Encoded]], dict[str, Any]],
        train: list[Encoded],
        valid: list[Encoded],
        on_evaluate: Callable[[int], None] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        super().__init__(
            model,
            args,
            data_collator=collate,
            train_dataset=train,
            callbacks=[Flow(schedule), *(callbacks or [])],
            optimizers=optimizers,
        )
        self.remove_callback(PrinterCallback)  # `Watch` speaks
        self.model_accepts_loss_kwargs = (
            True  # the loss is a sum over the step's supervised tokens divided by their number
        )
        self.schedule, self.valid, self.on_evaluate = schedule, valid, on_evaluate
        self.tokens = 0  # real tokens this process has trained on in this session
        self._step_loss = torch.zeros((), device=args.device)

    def _get_train_sampler(self, *_: Any, **__: Any) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        mask = inputs.get("attention_mask")
        self.tokens += int(inputs["input_ids"].numel() if mask is None else mask.sum())
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        self._step_loss += loss
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the true epoch (the Trainer sees the whole training as one) and the tokens so far."""
        if "train_runtime" in logs:
            return  # the end's summary: `stage` makes its own, over all sessions
        if self.state.epoch is not None:
            self.state.epoch = self.state.global_step / self.schedule.steps_per_epoch
        last = next((row for row in reversed(self.state.log_history) if "tokens" in row), {"tokens": 0})
        if "loss" in logs:
            new = torch.tensor(self.tokens, device=self.args.device)
            logs["tokens"] = int(last["tokens"]) + int(self.accelerator.reduce(new, "sum"))
            self.tokens = 0
        super().log(logs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss per supervised token over all held-out examples (exact, not a mean of batch means)."""
        started = time.perf_counter()
        model, was = self.model_wrapped if self.is_in_train else self.model, self.model.training
        size = self.args.per_device_eval_batch_size
        ordered = sorted(self.valid, key=lambda e: len(e.input_ids))
        batches = [ordered[i : i + size] for i in range(0, len(ordered), size)]
        sums = torch.zeros(2, dtype=torch.float64, device="cpu" if self.args.device.type == "mps" else self.args.device)
        model.eval()
        with torch.no_grad():
            # every process takes part in every round: sharded models gather their weights in forward
            for start in range(0, len(batches), self.args.world_size):
                mine = start + self.args.process_index
                batch = self._prepare_inputs(self.data_collator(batches[min(mine, len(batches) - 1)]))
                count = (batch["labels"][:, 1:] != IGNORE).sum()
                loss = model(**batch).loss.double()
                if mine < len(batches):
                    sums += torch.stack([loss * count, count.double()]).to(sums.device)
        model.train(was)
        total, tokens = self.accelerator.reduce(sums, "sum").tolist()
        seconds = time.perf_counter() - started
        metrics = {
            f"{metric_key_prefix}_loss": total / max(tokens, 1),
            f"{metric_key_prefix}_runtime": seconds,
            f"{metric_key_prefix}_samples_per_second": len(ordered) / seconds,
            f"{metric_key_prefix}_steps_per_second": len(batches) / seconds,
        }
        self.log(dict(metrics))
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if self.on_evaluate is not None:
            self.on_evaluate(self.state.global_step)
        return metrics


class Flow(TrainerCallback):  # type: ignore[misc]
    """A Trainer callback: carries out the schedule and stops a training whose loss runs away before it can harm the weights further."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_log = True
        control.should_evaluate = self.schedule.evaluates(state.global_step)
        control.should_save = self.schedule.saves(state.global_step)
        return control

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if why := diverged(state.log_history):
            kept = checkpoints.newest(Path(args.output_dir))
            raise TrainingDiverged(
                f"step {state.global_step}: {why}; kept: {kept.name if kept else 'no checkpoint yet'} -> lower the stage's learning_rate or max_grad_norm, or look for broken data"
            )

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.schedule.stops(state.log_history):
            control.should_training_stop = True
        return control
