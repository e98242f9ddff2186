"""Examples into micro-batches: end to end without padding ("packed"), or padded to the longest."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from .template import IGNORE, Encoded


def pack(examples: Sequence[Encoded]) -> dict[str, Any]:
    """One row that holds every example, end to end; no padding.

    Returns:
        `input_ids`, `labels`, `position_ids`: (1, T) int64, T the sum of lengths. Positions restart with each example, and the first label of each
        is ignored, since its prediction would come from the example before it. `lengths`: the examples' lengths, for `attention.packed`.
    """
    ids = [i for e in examples for i in e.input_ids]
    labels = [y for e in examples for y in (IGNORE, *e.labels[1:])]
    positions = [p for e in examples for p in range(len(e.input_ids))]
    return {
        "input_ids": torch.tensor([ids]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([positions]),
        "lengths": tuple(len(e.input_ids) for e in examples),
    }


def pad(examples: Sequence[Encoded], pad_id: int) -> dict[str, Any]:
    """The usual batch: (B, longest) `input_ids`, `labels` and `attention_mask`, padded on the right."""
    width = max(len(e.input_ids) for e in examples)

    def fill(rows: list[list[int]], value: int) -> torch.Tensor:
        return torch.tensor([row + [value] * (width - len(row)) for row in rows])

    return {
        "input_ids": fill([e.input_ids for e in examples], pad_id),
        "labels": fill([e.labels for e in examples], IGNORE),
        "attention_mask": fill([[1] * len(e.input_ids) for e in examples], 0),
    }


def order(lengths: Sequence[int], epochs: float, batch: int, seed: int, *, group: bool = False) -> list[int]:
    """Which example is seen when, over the whole training: a new shuffle each epoch, a pure function of its arguments.

    Because nothing else decides the order, a training that is interrupted and goes on sees exactly the same examples.

    Args:
        lengths: length of each example in tokens.
        epochs: passes; a fraction ends in the middle of a pass.
        batch: examples in a micro-batch.
        group: put examples of like length into one micro-batch (for padded batches).

    Returns:
        Indices into `lengths`, round(epochs * len(lengths)) of them, at least one.
    """
    wanted = max(1, round(epochs * len(lengths)))
    out: list[int] = []
    epoch = 0
    while len(out) < wanted:
        draw = random.Random(f"{seed}:{epoch}")
        one = list(range(len(lengths)))
        draw.shuffle(one)
        out += _grouped(one, lengths, batch, draw) if group else one
        epoch += 1
    return out[:wanted]


def _grouped(shuffled: list[int], lengths: Sequence[int], batch: int, draw: random.Random) -> list[int]:
    """Sort by length within stretches of 16 micro-batches, then shuffle the micro-batches."""
    stretch = 16 * batch
    batches = []
    for start in range(0, len(shuffled), stretch):
        part = sorted(shuffled[start : start + stretch], key=lambda i: -lengths[i])
        batches += [part[i : i + batch] for i in range(0, len(part), batch)]
    whole, rest = [b for b in batches if len(b) == batch], [b for b in batches if len(b) < batch]
    draw.shuffle(whole)
    return [i for b in whole + rest for i in b]
