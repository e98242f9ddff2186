"""Logits to next tokens, for a batch whose rows come and go: each row has its own random generator, so a reply depends only
on its own prompt and seed, not on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..recipe import Sampling
from . import dry

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


def warp(logits: Tensor, prompt: Sequence[int], reply: Sequence[int], sampling: Sampling) -> Tensor:
    """Probabilities of one row after the penalties, temperature, top-k and top-p, (V,) float32.

    Args:
        logits: (V,).
        prompt, reply: token ids so far (for the penalties).
    """
    z = penalised(logits, prompt, reply, sampling) / sampling.temperature
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


def penalised(logits: Tensor, prompt: Sequence[int], reply: Sequence[int], sampling: Sampling) -> Tensor:
    """Scores of one row, float32 (V,), after two penalties that are off by default.

    CTRL's repetition penalty (Keskar et al. 2019): scores of tokens seen in prompt or reply are divided if positive, multiplied
    if negative. DRY ("don't repeat yourself", as in llama.cpp): see `dry`.
    """
    z = logits.float()
    seen = {*prompt, *reply} if sampling.repetition_penalty != 1 else set()
    if seen:
        index = torch.tensor(sorted(seen), device=z.device)
        z = z.clone()
        z[index] = torch.where(
            z[index] > 0, z[index] / sampling.repetition_penalty, z[index] * sampling.repetition_penalty
        )
    multiplier = sampling.dry_multiplier or 0.0
    again = dry.repeats(reply) if multiplier else {}
    if again:
        index = torch.tensor(list(again), device=z.device)
        power = torch.tensor([float(n - dry.ALLOWED) for n in again.values()], device=z.device)
        z = z.index_add(0, index, multiplier * dry.BASE**power, alpha=-1)
    return z


def plain(sampling: Sampling) -> bool:
    """Whether the next token is the likeliest, whatever came before."""
    return sampling.temperature == 0 and sampling.repetition_penalty == 1 and not sampling.dry_multiplier


def choose(
    logits: Tensor,
    prompts: Sequence[Sequence[int]],
    replies: Sequence[Sequence[int]],
    sampling: Sampling,
    generators: Sequence[torch.Generator | None],
) -> list[int]:
    """The next token of each row of `logits` (n, V)."""
    if plain(sampling):
        return [int(i) for i in argmax(logits).tolist()]
    rows = zip(logits, prompts, replies, strict=True)
    if sampling.temperature == 0:
        return [int(i) for i in argmax(torch.stack([penalised(z, p, r, sampling) for z, p, r in rows])).tolist()]
    return [
        int(torch.multinomial(warp(z, p, r, sampling), 1, generator=g))
        for (z, p, r), g in zip(rows, generators, strict=True)
    ]
