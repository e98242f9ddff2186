"""Cross entropy over a large vocabulary without the logits.

For one supervised position with hidden state h (size H), output matrix W (V × H) and target y the loss is

    nll = logsumexp(W h) - W_y h            d nll / d h = sum_v softmax(W h)_v W_v - W_y

Both sums run over the vocabulary, so they can be taken tile by tile with a running maximum, exactly as flash attention does over keys
(Dao et al. 2022, arXiv:2205.14135; Wijmans et al. 2024, arXiv:2411.09009 for this use). The gradient falls out of the same pass, hence
nothing of size rows × vocabulary exists, neither in training nor in evaluation, and the backward pass costs one multiplication.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TILE_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Size of one tile of logits. On a CPU it should stay in the second and third level cache, on a GPU it should fill the card."""
_MIN_TILE = 512


def nll(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, softcap: float | None = None, smoothing: float = 0.0
) -> Tensor:
    """Negative log likelihood of each target.

    Args:
        hidden: (rows, H), the states of supervised positions only.
        weight: (V, H), the output matrix; gets a gradient only if it requires one (full tuning).
        targets: (rows,) int64 in [0, V).
        softcap: logits become softcap * tanh(logits / softcap) (Gemma 2).
        smoothing: label smoothing as in transformers: (1 - e) * nll + e * mean over v of -log p_v.

    Returns:
        (rows,) float32, nats.
    """
    if not len(hidden):
        return hidden.sum(-1).float() * 0.0
    out: Tensor = _Nll.apply(hidden, weight, targets, softcap, smoothing)  # type: ignore[no-untyped-call]
    return out


class _Nll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float | None, smoothing: float
    ) -> Tensor:
        want = ctx.needs_input_grad
        rows, vocab = len(hidden), len(weight)
        tile = tile_width(rows, vocab, hidden.device.type)
        top = torch.full((rows,), -torch.inf, dtype=torch.float32, device=hidden.device)  # running maximum
        total = torch.zeros_like(top)  # running sum of exp(z - top)
        z_sum = torch.zeros_like(top)  # sum of all logits, for smoothing
        z_target = torch.empty_like(top)
        mean_w = (
            torch.zeros(hidden.shape, dtype=torch.float32, device=hidden.device) if want[0] else None
        )  # sum of exp(z - top) W
        smooth_w = torch.zeros_like(mean_w) if mean_w is not None and smoothing and softcap else None
        for start in range(0, vocab, tile):
            w = weight[start : start + tile]
            z, slope = _logits(hidden, w, softcap)
            inside = (targets >= start) & (targets < start + len(w))
            z_target[inside] = z[inside, targets[inside] - start].float()
            if smoothing:
                z_sum += z.sum(-1, dtype=torch.float32)
            high = torch.maximum(top, z.amax(-1).float())
            shrink = torch.exp(top - high)
            e = torch.sub(z, high[:, None]).exp_()  # float32 whatever z is, in one pass
            total.mul_(shrink).add_(e.sum(-1))
            top = high
            if mean_w is not None:
                e = e if slope is None else e.mul_(slope)
                mean_w.mul_(shrink[:, None]).add_(e.to(w.dtype) @ w)
                if smooth_w is not None and slope is not None:
                    smooth_w.add_(slope.to(w.dtype) @ w)
        lse = total.log_().add_(top)
        loss = lse - (1 - smoothing) * z_target - smoothing * z_sum / vocab
        if mean_w is not None:
            mean_w.div_(torch.exp(lse - top)[:, None])
            mean_w.sub_(_pull(hidden, weight, targets, softcap, 1 - smoothing))
            if smooth_w is not None:
                mean_w.sub_(smooth_w, alpha=smoothing / vocab)
            elif smoothing:
                mean_w.sub_(weight.float().mean(0), alpha=smoothing)
            mean_w = mean_w.to(hidden.dtype)
        ctx.save_for_backward(mean_w, *((hidden, weight, targets, lse) if want[1] else ()))
        ctx.options = tile, softcap, smoothing
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, *rest = ctx.saved_tensors
        d_weight = _weight_gradient(grad, *rest, *ctx.options) if rest else None
        return (None if d_hidden is None else d_hidden * grad[:, None].to(d_hidden.dtype)), d_weight, None, None, None


def _logits(hidden: Tensor, w: Tensor, softcap: float | None) -> tuple[Tensor, Tensor | None]:
    """Logits of one tile in the model's dtype (float32 where soft-capped), and d logit / d (W h) where that is not 1."""
    z = hidden @ w.T
    if softcap is None:
        return z, None
    bend = torch.tanh(z.float().div_(softcap))
    return bend * softcap, 1 - bend * bend


def _pull(hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float | None, share: float) -> Tensor:
    """The target's part of the gradient: share * slope * W_y, (rows, H)."""
    rows = weight[targets].float()
    if softcap is not None:
        bend = torch.tanh((hidden.float() * rows).sum(-1) / softcap)
        share_of = (share * (1 - bend * bend))[:, None]
        return rows * share_of
    return rows * share


def _weight_gradient(
    grad: Tensor,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    lse: Tensor,
    tile: int,
    softcap: float | None,
    smoothing: float,
) -> Tensor:
    """(V, H): a second pass that makes each tile again, since its softmax needs the whole sum."""
    out = torch.empty_like(weight)
    vocab = len(weight)
    for start in range(0, vocab, tile):
        w = weight[start : start + tile]
        z, slope = _logits(hidden, w, softcap)
        p = torch.sub(z, lse[:, None]).exp_()
        if smoothing:
            p.sub_(smoothing / vocab)
        inside = ((targets >= start) & (targets < start + len(w))).nonzero()[:, 0]
        p[inside, targets[inside] - start] -= 1 - smoothing
        p.mul_(grad[:, None])
        if slope is not None:
            p.mul_(slope)
        torch.mm(p.to(w.dtype).T, hidden, out=out[start : start + len(w)])
    return out


def tile_width(rows: int, vocab: int, device: str) -> int:
    """How many vocabulary entries one tile takes for so many rows."""
    elements = TILE_ELEMENTS.get(device, TILE_ELEMENTS["cuda"])
    return min(vocab, max(_MIN_TILE, elements // max(rows, 1) // _MIN_TILE * _MIN_TILE))
