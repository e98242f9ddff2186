"""Causal attention over packed dialogues: each attends to itself only, within the model's own sliding window, and without a mask tensor.

Registered with transformers under the name `NAME`; a model that is set to it passes `lengths` (from `collate.pack`) through to here. Every
segment is one call of torch's fused attention with `is_causal`; a segment longer than the sliding window is cut into blocks of
queries, each of which sees only the keys it can reach, so that time and memory grow with length × window and not with its square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "hearme_packed"


def packed(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    lengths: Sequence[int] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention in the calling convention of transformers' `AttentionInterface`.

    Args:
        query: (B, heads, T, D); key, value: (B, groups, T, D) with groups dividing heads.
        attention_mask: must be None (causality and segments are known).
        lengths: lengths of the segments along T, which must sum to T; None: each row is one segment.
        sliding_window: a query sees itself and the `sliding_window - 1` positions before it.

    Returns:
        ((B, T, heads, D), None).
    """
    if attention_mask is not None or softcap is not None:
        raise ValueError("packed attention knows neither masks nor soft-capped scores")
    window = sliding_window if sliding_window is not None else getattr(module, "sliding_window", None)
    outs = []
    for start, end in _spans(lengths or (query.shape[2],)):
        q, k, v = (x[:, :, start:end] for x in (query, key, value))
        if window is None or end - start <= window:
            outs.append(_attend(q, k, v, None, scaling, dropout))
        else:
            outs += [_attend(*block, scaling, dropout) for block in _windows(q, k, v, window)]
    out = outs[0] if len(outs) == 1 else torch.cat(outs, dim=2)
    return out.transpose(1, 2).contiguous(), None


def _spans(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for n in lengths:
        yield start, start + n
        start += n


def _windows(q: Tensor, k: Tensor, v: Tensor, window: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """Blocks of `window` queries with the keys they reach; the mask is at most window × 2 window."""
    total = q.shape[2]
    for start in range(0, total, window):
        end = min(start + window, total)
        low = max(0, start - window + 1)
        mask = None
        if low < start:
            at = torch.arange(start, end, device=q.device)[:, None] - torch.arange(low, end, device=q.device)
            mask = (at >= 0) & (at < window)
        yield q[:, :, start:end], k[:, :, low:end], v[:, :, low:end], mask


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None, dropout: float) -> Tensor:
    grouped = q.shape[1] != k.shape[1]
    if grouped and q.device.type != "cuda":  # the fused kernel for CPUs wants equal numbers of heads
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
        grouped = False
    return scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )


@contextmanager
def use_packed(model: Any) -> Iterator[None]:
    """Let `model` (a transformers model) attend through `packed` inside the block."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
