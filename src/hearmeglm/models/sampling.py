"""Logits to next tokens, for a batch whose rows come and go: each row has its own random generator, so a reply depends only
on its own prompt and seed, not on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..recipe import Sampling

_BLOCK = 512


def argmax(logits: Tensor) -> Tensor:
    """Index of each row's first maximum, (n, V) -> (n,).

    In two steps (largest block, then place in the block): torch's own argmax over 262,144 classes takes as long on a CPU
    as a third of the output layer.
    """
    n, vocab = logits.shape
    if logits.device.type != "cpu" or vocab % _BLOCK or vocab == _BLOCK:
        return logits.argmax(-1)
    blocks = logits.reshape(n, -1, _BLOCK)
    best = blocks.amax(-1).argmax(-1)
    inside = blocks[torch.arange(n), best].argmax(-1)
    return best * _BLOCK + inside


def warp(logits: Tensor, seen: Sequence[int], sampling: Sampling) -> Tensor:
    """Probabilities of one row after repetition penalty, temperature, top-k and top-p, (V,) float32.

    Args:
        logits: (V,).
        seen: token ids of prompt and reply so far (for the penalty).
    """
    z = penalised(logits, seen, sampling.repetition_penalty) / sampling.temperature
    if sampling.top_k and sampling.top_k < len(z):
        z = z.masked_fill(z < z.topk(sampling.top_k).values[-1], -torch.inf)
    p = z.softmax(-1)
    if sampling.top_p < 1:
        ordered, index = p.sort(descending=True)
        # a token stays if the tokens before it do not reach top_p; the first always stays
        drop = index[(ordered.cumsum(-1) - ordered) >= max(sampling.top_p, 1e-6)]
        p[drop] = 0
        p /= p.sum()
    return p


def penalised(logits: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """CTRL's repetition penalty (Keskar et al. 2019): scores of seen tokens divided if positive, multiplied if negative."""
    z = logits.float()
    if penalty != 1 and seen:
        index = torch.tensor(sorted(set(seen)), device=z.device)
        z = z.clone()
        z[index] = torch.where(z[index] > 0, z[index] / penalty, z[index] * penalty)
    return z


def choose(
    logits: Tensor, seen: Sequence[Sequence[int]], sampling: Sampling, generators: Sequence[torch.Generator | None]
) -> list[int]:
    """The next token of each row of `logits` (n, V)."""
    if sampling.temperature == 0:
        if sampling.repetition_penalty != 1:
            logits = torch.stack(
                [penalised(z, s, sampling.repetition_penalty) for z, s in zip(logits, seen, strict=True)]
            )
        return [int(i) for i in argmax(logits).tolist()]
    return [
        int(torch.multinomial(warp(z, s, sampling), 1, generator=g))
        for z, s, g in zip(logits, seen, generators, strict=True)
    ]
