"""Errors meant for the user.

HearmeError                anything this package raises on purpose
├── UserError              the user can mend it: one line, exit code 2, no traceback
│   ├── RecipeError        a recipe that does not parse (all its faults at once)
│   ├── DataError          a file or record that cannot be read
│   ├── ModelError         a base, adapter or template that is not there or does not fit
│   └── RunError           a run directory that cannot be used or found
├── Busy                   a queue is full: try again later
└── TrainingDiverged       NaN or exploding loss; the last good checkpoint is kept
"""

from __future__ import annotations


class HearmeError(Exception):
    """Base of every error that this package raises on purpose."""


class UserError(HearmeError):
    """A mistake the user can mend.

    Args:
        problem: what was expected and what was found, in one sentence.
        where: file, line, row, turn or key; empty if there is no such place.
        hint: what to do next.
    """

    def __init__(self, problem: str, *, where: str = "", hint: str = "") -> None:
        self.problem, self.where, self.hint = problem, where, hint
        super().__init__(problem)

    def __str__(self) -> str:
        head = f"{self.where}: {self.problem}" if self.where else self.problem
        text = f"{head} -> {self.hint}" if self.hint else head
        return " ".join(text.split())


class RecipeError(UserError):
    """A recipe (or `--set`) with unknown keys, wrong types or contradictions."""


class DataError(UserError):
    """A data file or record that cannot be read as what it is said to be."""


class ModelError(UserError):
    """A base model, adapter, tokenizer or template that is missing or does not fit."""


class RunError(UserError):
    """A run directory that is missing, incomplete, or belongs to another recipe."""


class Busy(HearmeError):
    """The queue is full; `retry_after_s` says when to try again."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class TrainingDiverged(HearmeError):
    """The loss became NaN, infinite or exploded; the message names the step and the checkpoint that is kept."""
