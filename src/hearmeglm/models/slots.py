"""A preallocated key/value cache of rows ("slots") and the attention over it, for batched decoding without padding or growth.

Each row of a decoding batch has its own length. A finished row leaves at once: the last row moves into its place, so the
batch is always rows `0 … active-1`. New prompts are run end to end in one packed pass (`attention.packed`) and copied in.
Registered with transformers under the name `NAME`, so any model that supports attention backends can use it unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .attention import packed

NAME = "hearme_slots"


class Slots:
    """Keys and values of up to `rows` sequences of up to `capacity` tokens, for every layer.

    Attributes:
        lengths: tokens held by each active row; a row's next token gets this position.
    """

    def __init__(self, rows: int, capacity: int) -> None:
        self.rows, self.capacity = rows, capacity
        self.lengths: list[int] = []
        self._kv: dict[int, tuple[Tensor, Tensor]] = {}  # layer -> two of (rows, groups, capacity, D)
        self._fresh: dict[
            int, tuple[Tensor, Tensor]
        ] = {}  # layer -> keys, values of the last packed pass (groups, T, D)
        self._segments: tuple[int, ...] | None = None
        self._at: tuple[Tensor, Tensor] | None = None  # row numbers, lengths
        self._masks: dict[int | None, Tensor] = {}

    def prefill(self, segments: Sequence[int]) -> None:
        """The next forward pass holds new prompts of these lengths, end to end."""
        self._segments = tuple(segments)
        self._fresh.clear()

    def admit(self, start: int, length: int) -> None:
        """Copy positions `start … start+length` of the last packed pass into a new row."""
        row = len(self.lengths)
        for layer, (key, value) in self._fresh.items():
            if layer not in self._kv:
                groups, _, size = key.shape
                # zeros, not empty: masked positions weigh nothing, but nothing times NaN is NaN
                self._kv[layer] = (
                    key.new_zeros(self.rows, groups, self.capacity, size),
                    value.new_zeros(self.rows, groups, self.capacity, value.shape[-1]),
                )
            for held, new in zip(self._kv[layer], (key, value), strict=True):
                held[row, :, :length] = new[:, start : start + length]
        self.lengths.append(length)

    def leave(self, row: int) -> int:
        """Free `row`; returns the row that takes its place (the last one), after which that one is gone."""
        last = len(self.lengths) - 1
        if row != last:
            n = self.lengths[last]
            for held in (x for pair in self._kv.values() for x in pair):
                held[row, :, :n] = held[last, :, :n]
            self.lengths[row] = n
        self.lengths.pop()
        return last

    def decode(self, device: Any) -> Tensor:
        """The next forward pass holds one new token a row; returns their positions, (active, 1)."""
        self._segments = None
        self._fresh.clear()
        self._masks.clear()
        lengths = torch.tensor(self.lengths, device=device)
        self._at = (torch.arange(len(self.lengths), device=device), lengths)
        self.lengths = [n + 1 for n in self.lengths]
        return lengths[:, None]

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """Attention of one layer in the mode set last; shapes as in `attention.packed`."""
        layer: int = module.layer_idx
        if self._segments is not None:
            self._fresh[layer] = (key[0], value[0])
            return packed(
                module, query, key, value, None, lengths=self._segments, scaling=scaling, sliding_window=window
            )[0]
        assert self._at is not None
        rows, at = self._at
        n, heads, _, size = query.shape
        keys, values = self._kv[layer]
        groups = keys.shape[1]
        keys[rows, :, at] = key[:, :, 0]
        values[rows, :, at] = value[:, :, 0]
        seen = max(self.lengths)
        # the query heads that share a key head stand in the place of query positions: no key is copied
        q = query.reshape(n, groups, heads // groups, size)
        mask = self._mask(window if window is not None and window < seen else None, seen, query.dtype)
        out = scaled_dot_product_attention(
            q,
            keys[:n, :, :seen],
            values[:n, :, :seen],
            attn_mask=mask.expand(n, groups, heads // groups, seen),
            scale=scaling,
        )
        return out.reshape(n, 1, heads, out.shape[-1])

    def _mask(self, window: int | None, seen: int, dtype: torch.dtype) -> Tensor:
        if window not in self._masks:
            assert self._at is not None
            at = self._at[1][:, None]
            position = torch.arange(seen, device=at.device)
            hidden = position > at
            if window is not None:
                hidden |= position <= at - window
            mask = torch.zeros(hidden.shape, dtype=dtype, device=at.device).masked_fill_(hidden, -torch.inf)
            self._masks[window] = mask[:, None, None]
        return self._masks[window]


def slot_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    slots: Slots,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """`Slots.attend` in the calling convention of transformers' `AttentionInterface`."""
    window = sliding_window if sliding_window is not None else getattr(module, "sliding_window", None)
    return slots.attend(module, query, key, value, scaling, window), None


@contextmanager
def use_slots(model: Any) -> Iterator[None]:
    """Let `model` (a transformers model) attend through the `slots` it is called with inside the block."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, slot_attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
