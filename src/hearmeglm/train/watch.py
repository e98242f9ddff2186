"""What the user sees while a stage trains: a progress bar, metrics.jsonl, the sample answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback

from ..files import write_jsonl


class Watch(TrainerCallback):  # type: ignore[misc]
    """Progress bar on stderr with loss, tokens/s and time left; rewrites `metrics.jsonl` from the log at every entry.

    Args:
        seconds_before: time spent in earlier sessions of this stage.
    """

    def __init__(self, stage: str, metrics: Path, console: Console, seconds_before: float = 0.0) -> None:
        self.metrics, self.console, self.before = metrics, console, seconds_before
        self.started = time.perf_counter()
        self.bar = Progress(
            TextColumn(stage), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"), TextColumn("{task.fields[say]}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console, transient=not console.is_terminal, speed_estimate_period=600,
        )  # fmt: skip
        self.task: Any = None
        self.seen = 0
        self.working = 0.0
        self.step_started = self.started

    @property
    def seconds(self) -> float:
        """Time spent on the stage so far, over all sessions."""
        return self.before + time.perf_counter() - self.started

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seen = _tokens(state.log_history)
        if state.is_world_process_zero:
            self.task = self.bar.add_task("", total=state.max_steps, completed=state.global_step, say="")
            self.bar.start()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step_started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.working += time.perf_counter() - self.step_started

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        row = state.log_history[-1]
        row["seconds"] = round(self.seconds, 3)
        if not state.is_world_process_zero:
            return
        if "tokens" in row:
            row["tokens_per_second"] = round((row["tokens"] - self.seen) / max(self.working, 1e-9), 1)
        write_jsonl(self.metrics, state.log_history)
        loss = next((r["loss"] for r in reversed(state.log_history) if "loss" in r), float("nan"))
        held_out = next((f"  eval {r['eval_loss']:.3f}" for r in reversed(state.log_history) if "eval_loss" in r), "")
        speed = row.get("tokens_per_second")
        if self.task is not None:
            say = f"loss {loss:.3f}{held_out}" + (f"  {speed:.0f} tokens/s" if speed else "")
            self.bar.update(self.task, completed=state.global_step, say=say)
            if not self.console.is_terminal and ("eval_loss" in row or state.global_step % 10 == 0):
                self.console.print(f"step {state.global_step}/{state.max_steps}  {say}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the screen."""
        self.bar.stop()


def _tokens(log: list[dict[str, Any]]) -> int:
    return next((int(row["tokens"]) for row in reversed(log) if "tokens" in row), 0)
