"""The cache of `slots` in the layout of transformers' left-padded batches, for replies that equal its replies bit for bit.

In half precision the last bit of an attention output depends on where in the row a key stands, and one bit is enough to turn a close
choice of the next token. Only attention depends on the layout: linear layers round each row by itself. So attention alone is given
the padding that `generate` of transformers would have given it, and everything else stays as it is: no padded position reaches a
linear layer, and finished rows leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad as zero_pad
from torch.nn.functional import scaled_dot_product_attention


@dataclass
class _Block:
    """Rows of one padded batch that were admitted together, so that all have the same number of positions.

    Attributes:
        held: positions in use, padding included.
        pads: padded positions at the left of each row.
        kv: layer -> keys, values, (rows, groups, capacity, D).
    """

    held: int
    pads: list[int]
    kv: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    masks: dict[int, Tensor] = field(default_factory=dict)


class PaddedSlots:
    """Same use as `slots.Slots`; a prompt's row is as wide as the longest prompt of its batch.

    Args:
        rows: most rows at a time.
        most: new tokens a row.
        widths: width of each prompt's batch, in the order in which the prompts will come.
    """

    def __init__(self, rows: int, most: int, widths: Iterable[int]) -> None:
        self.rows, self.most = rows, most
        self._coming = iter(widths)
        self._blocks: list[_Block] = []
        self._joined: _Block | None = None
        self._fresh: dict[int, tuple[Tensor, Tensor]] = {}
        self._segments: dict[int, tuple[int, int]] | None = None  # start -> length, width
        self._prompt_masks: dict[tuple[int, int, int, int | None], Tensor] = {}

    def prefill(self, segments: Sequence[int]) -> None:
        """The next forward pass holds new prompts of these lengths, end to end."""
        self._segments, start = {}, 0
        for length in segments:
            self._segments[start] = length, next(self._coming)
            start += length
        self._fresh.clear()
        self._prompt_masks.clear()
        self._joined = None

    def admit(self, start: int, length: int) -> None:
        """Copy positions `start … start+length` of the last packed pass into a new row."""
        assert self._segments is not None
        width = self._segments[start][1]
        block = self._joined
        if block is None or block.held != width:
            block = self._joined = _Block(width, [])
            self._blocks.append(block)
        row = len(block.pads)
        block.pads.append(width - length)
        for layer, pair in self._fresh.items():
            held = block.kv.get(layer)
            if held is None or row == len(held[0]):
                grown = tuple(self._grown(x, None if held is None else held[j], width) for j, x in enumerate(pair))
                held = block.kv[layer] = (grown[0], grown[1])
            for to, new in zip(held, pair, strict=True):
                to[row, :, width - length : width] = new[:, start : start + length]

    def _grown(self, like: Tensor, old: Tensor | None, width: int) -> Tensor:
        rows = 8 if old is None else 2 * len(old)
        new = like.new_zeros(rows, like.shape[0], width + self.most, like.shape[-1])
        if old is not None:
            new[: len(old)] = old
        return new

    def leave(self, row: int) -> int:
        """Free `row`; returns the row that takes its place, after which that one is gone."""
        first = 0
        for block in self._blocks:
            n = len(block.pads)
            if row < first + n:
                break
            first += n
        last, at = n - 1, row - first
        for held in (x for pair in block.kv.values() for x in pair):
            held[at] = held[last]
        block.pads[at] = block.pads[last]
        block.pads.pop()
        block.masks.clear()
        if not block.pads:
            self._blocks.remove(block)
        return first + last

    def decode(self, device: Any) -> Tensor:
        """The next forward pass holds one new token a row; returns their positions, (active, 1)."""
        self._segments = None
        self._fresh.clear()
        positions = [block.held - pad for block in self._blocks for pad in block.pads]
        for block in self._blocks:
            block.held += 1
            block.masks.clear()
        return torch.tensor(positions, device=device)[:, None]

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """Attention of one layer in the mode set last; shapes as in `attention.packed`."""
        layer: int = module.layer_idx
        if self._segments is not None:
            self._fresh[layer] = (key[0], value[0])
            return self._prompts(query, key, value, scaling, window)
        groups = key.shape[1]
        outs, first = [], 0
        for block in self._blocks:
            n, end = len(block.pads), block.held
            part = slice(first, first + n)
            first += n
            keys, values = block.kv[layer]
            keys[:n, :, end - 1], values[:n, :, end - 1] = key[part, :, 0], value[part, :, 0]
            low = 0 if window is None else max(0, end - window)
            q = query[part].reshape(n, groups, -1, query.shape[-1])
            mask = self._hidden(block, low, q)
            outs.append(
                scaled_dot_product_attention(
                    q, keys[:n, :, low:end], values[:n, :, low:end], attn_mask=mask, scale=scaling
                )
            )
        out = torch.cat(outs)
        return out.reshape(len(query), 1, query.shape[1], out.shape[-1])

    def _hidden(self, block: _Block, low: int, q: Tensor) -> Tensor:
        if low not in block.masks:
            pads = torch.tensor(block.pads, device=q.device)[:, None]
            block.masks[low] = (torch.arange(low, block.held, device=q.device) >= pads)[:, None, None]
        return block.masks[low].expand(*q.shape[:3], block.held - low)

    def _prompts(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None) -> Tensor:
        """Each prompt by itself, at the right end of a row of its batch's width."""
        assert self._segments is not None
        share = query.shape[1] // key.shape[1]
        outs = []
        for start, (length, width) in self._segments.items():
            pad, part = width - length, slice(start, start + length)
            # padding is left out where the kernel's blocks of queries and keys stay the same
            above, left = pad % (256 if width >= 768 else 64), pad % 512
            q = zero_pad(query[:, :, part], (0, 0, above, 0))
            k, v = (zero_pad(x[:, :, part], (0, 0, left, 0)).repeat_interleave(share, dim=1) for x in (key, value))
            mask = self._causal(q, length, above, left, window)
            outs.append(scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)[:, :, above:])
        return torch.cat(outs, dim=2).transpose(1, 2).contiguous()

    def _causal(self, q: Tensor, length: int, above: int, left: int, window: int | None) -> Tensor:
        """Additive mask, (above + length, left + length): the same for all layers with the same window."""
        window = None if window is None or window >= length else window
        shape = length, above, left, window
        if shape not in self._prompt_masks:
            at = torch.arange(-above, length, device=q.device)[:, None]
            to = torch.arange(-left, length, device=q.device)
            seen = (to <= at) & (to >= 0)
            if window is not None:
                seen &= at - to < window
            seen[:above, 0] = True  # a padded query sees something, or it would be NaN
            self._prompt_masks[shape] = torch.zeros_like(seen, dtype=q.dtype).masked_fill_(~seen, -torch.inf)
        return self._prompt_masks[shape]
