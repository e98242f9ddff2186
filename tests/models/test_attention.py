"""Packed attention against a dense mask, in float32 and with gradients."""

from __future__ import annotations

import pytest
import torch

from hearmeglm.models import attention


def dense(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: tuple[int, ...], window: int | None, scale: float
) -> torch.Tensor:
    total = q.shape[2]
    segment = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    far = torch.arange(total)[:, None] - torch.arange(total)
    allowed = (segment[:, None] == segment) & (far >= 0)
    if window is not None:
        allowed &= far < window
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    scores = (q @ k.transpose(2, 3) * scale).masked_fill(~allowed, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("way", ["blocks", "fused"])
@pytest.mark.parametrize("window", [None, 1, 7, 24, 400])
@pytest.mark.parametrize(("heads", "groups"), [(4, 1), (4, 2), (3, 3)])
def test_equals_a_dense_mask(
    heads: int, groups: int, window: int | None, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "BLOCK", 16)
    draw = torch.Generator().manual_seed(0)
    lengths = (5, 70, 16, 1, 33)
    shapes = [(1, h, sum(lengths), 8) for h in (heads, groups, groups)]
    one = [torch.randn(s, generator=draw).requires_grad_() for s in shapes]
    two = [x.detach().clone().requires_grad_() for x in one]
    module = torch.nn.Identity()
    if way == "fused":
        monkeypatch.setattr(attention, "_Blocks", None)
        parts = [x.expand(2, -1, -1, -1) for x in one]  # two rows take the other way
        got = attention.packed(module, *parts, None, lengths=lengths, scaling=0.3, sliding_window=window)[0][:1]
    else:
        got = attention.packed(module, *one, None, lengths=lengths, scaling=0.3, sliding_window=window)[0]
    want = dense(*two, lengths, window, 0.3)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    weights = torch.randn(want.shape, generator=draw)
    (got * weights).sum().backward()
    (want * weights).sum().backward()
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)


def test_refuses_what_it_cannot_do() -> None:
    x = torch.zeros(1, 1, 4, 8)
    with pytest.raises(ValueError, match="neither masks nor soft-capped"):
        attention.packed(torch.nn.Identity(), x, x, x, torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="neither masks nor soft-capped"):
        attention.packed(torch.nn.Identity(), x, x, x, None, softcap=50.0)
