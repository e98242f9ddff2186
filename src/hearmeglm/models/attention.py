"""Causal attention over packed dialogues: each attends to itself only, within the model's own sliding window, and without a dense mask.

Registered with transformers under the name `NAME`; a model that is set to it passes `lengths` (from `collate.pack`) through to here. Two ways:

- GPU: one call of torch's fused attention per segment with `is_causal`; a segment longer than the sliding window is cut into blocks of
  queries, each of which sees only the keys it can reach.
- CPU: matrix multiplications over blocks of queries. All heads that share a key head become the rows of one multiplication, which a
  processor does far faster than torch's own CPU kernel does one head at a time, and the probabilities (in the dtype of the model)
  are kept for the backward pass. Work is about half of the full square, and length × window beyond the window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "hearme_packed"
BLOCK = 128
"""Queries a block on the CPU: large enough for fast multiplications, small enough to skip most of what causality forbids."""


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
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    spans = list(_spans(lengths or (query.shape[2],)))
    if query.device.type == "cpu" and not dropout and len(query) == 1:
        out = _Blocks.apply(query[0].transpose(0, 1), key[0], value[0], spans, window, scale)  # type: ignore[no-untyped-call]
        return out[None], None
    outs = []
    for start, end in spans:
        q, k, v = (x[:, :, start:end] for x in (query, key, value))
        if window is None or end - start <= window:
            outs.append(_fused(q, k, v, None, scale, dropout))
        else:
            outs += [_fused(*block, scale, dropout) for block in _windows(q, k, v, window)]
    out = outs[0] if len(outs) == 1 else torch.cat(outs, dim=2)
    return out.transpose(1, 2).contiguous(), None


def _spans(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for n in lengths:
        yield start, start + n
        start += n


# --- GPU ----------------------------------------------------------------------------------------------------------------------


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


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, dropout: float) -> Tensor:
    grouped = q.shape[1] != k.shape[1]
    if grouped and q.device.type != "cuda":  # other kernels want equal numbers of heads
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
        grouped = False
    return scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )


# --- CPU ----------------------------------------------------------------------------------------------------------------------


class _Blocks(torch.autograd.Function):
    """Query (T, heads, D), key and value (groups, T, D) -> (T, heads, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        spans: list[tuple[int, int]],
        window: int | None,
        scale: float,
    ) -> Tensor:
        keep = any(ctx.needs_input_grad)
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        kept = []
        for start, end, low in _blocks(spans, window):
            q = _rows(query, start, end, len(key))
            scores = torch.bmm(q, key[:, low:end].transpose(1, 2))
            p = _masked(scores.mul_(scale), end - start, window).softmax(-1)
            _put(out, start, end, torch.bmm(p, value[:, low:end]))
            if keep:
                kept.append(p)
        if keep:
            ctx.save_for_backward(query, key, value, *kept)
            ctx.options = spans, window, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        spans, window, scale = ctx.options
        d_query = torch.empty_like(query, memory_format=torch.contiguous_format)
        d_key, d_value = (torch.zeros(x.shape, dtype=torch.float32, device=x.device) for x in (key, value))
        for (start, end, low), p in zip(_blocks(spans, window), kept, strict=True):
            q, g = _rows(query, start, end, len(key)), _rows(grad, start, end, len(key))
            d_value[:, low:end].add_(torch.bmm(p.transpose(1, 2), g))
            d_p = torch.bmm(g, value[:, low:end].transpose(1, 2))
            d_s = torch.ops.aten._softmax_backward_data(d_p, p, -1, p.dtype).mul_(scale)
            _put(d_query, start, end, torch.bmm(d_s, key[:, low:end]))
            d_key[:, low:end].add_(torch.bmm(d_s.transpose(1, 2), q))
        return d_query, d_key.to(key.dtype), d_value.to(value.dtype), None, None, None


def _blocks(spans: list[tuple[int, int]], window: int | None) -> Iterator[tuple[int, int, int]]:
    """(first query, end, first key) of each block; its keys end where its queries end."""
    for first, last in spans:
        for start in range(first, last, BLOCK):
            low = first if window is None else max(first, start - window + 1)
            yield start, min(start + BLOCK, last), low


def _rows(x: Tensor, start: int, end: int, groups: int) -> Tensor:
    """(T, heads, D) -> (groups, rows, D), rows by position and then by head within the group; no copy for one group."""
    part = x[start:end]
    n, heads, width = part.shape
    return part.reshape(n, groups, heads // groups, width).transpose(0, 1).reshape(groups, -1, width)


def _put(out: Tensor, start: int, end: int, rows: Tensor) -> None:
    n, heads, width = end - start, out.shape[1], out.shape[2]
    groups = len(rows)
    out[start:end].view(n, groups, heads // groups, width).copy_(
        rows.view(groups, n, heads // groups, width).transpose(0, 1)
    )


def _masked(scores: Tensor, n: int, window: int | None) -> Tensor:
    """Forbid the future within the block (its last n columns) and what lies before the window; in place.

    Args:
        scores: (groups, n × heads of a group, keys).
    """
    groups, _, keys = scores.shape
    view = scores.view(groups, n, -1, keys)
    future = torch.ones(n, n, dtype=torch.bool, device=scores.device).triu_(1)
    view[..., keys - n :].masked_fill_(future[None, :, None], -torch.inf)
    if (
        window is not None and keys > window
    ):  # query i of the block is at key keys - n + i and sees from keys - n + i - window + 1 on
        early = keys - n - window + 1
        width = early + n - 1
        past = torch.arange(width, device=scores.device) < torch.arange(early, early + n, device=scores.device)[:, None]
        view[..., :width].masked_fill_(past[None, :, None], -torch.inf)
    return scores


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
