"""The loss without logits against plain cross entropy, in float32 and with gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from hearmeglm.models import loss


def plain(h: torch.Tensor, w: torch.Tensor, y: torch.Tensor, softcap: float | None, smoothing: float) -> torch.Tensor:
    z = h @ w.T
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    return cross_entropy(z, y, reduction="none", label_smoothing=smoothing)


@pytest.mark.parametrize("train_weight", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_equals_cross_entropy(
    softcap: float | None, smoothing: float, train_weight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "_MIN_TILE", 64)
    monkeypatch.setitem(loss.TILE_ELEMENTS, "cpu", 1)  # tiles of 64, the last one short
    draw = torch.Generator().manual_seed(0)
    h = torch.randn(37, 16, generator=draw)
    w = torch.randn(1000, 16, generator=draw)
    y = torch.randint(0, 1000, (37,), generator=draw)
    a, b = h.clone().requires_grad_(), h.clone().requires_grad_()
    wa, wb = w.clone().requires_grad_(train_weight), w.clone().requires_grad_(train_weight)
    got, want = loss.nll(a, wa, y, softcap=softcap, smoothing=smoothing), plain(b, wb, y, softcap, smoothing)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    rows = torch.rand(37, generator=draw)
    (got * rows).sum().backward()
    (want * rows).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)
    if train_weight:
        torch.testing.assert_close(wa.grad, wb.grad, rtol=1e-5, atol=1e-5)


def test_bfloat16_stays_near_float32() -> None:
    draw = torch.Generator().manual_seed(0)
    h, w = torch.randn(64, 128, generator=draw), torch.randn(5000, 128, generator=draw) * 0.2
    y = torch.randint(0, 5000, (64,), generator=draw)
    small = h.bfloat16().requires_grad_()
    got = loss.nll(small, w.bfloat16(), y)
    got.sum().backward()
    exact = h.clone().requires_grad_()
    want = plain(exact, w, y, None, 0.0)
    want.sum().backward()
    assert got.dtype == torch.float32
    assert float((got - want).detach().abs().mean()) < 0.02
    assert float((small.grad.float() - exact.grad).norm() / exact.grad.norm()) < 0.02


def test_extreme_logits_do_not_overflow() -> None:
    h = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    got = loss.nll(h, torch.tensor([[1.0], [-1.0], [0.5]]), torch.tensor([0, 0]))
    got.sum().backward()
    assert got.detach().tolist() == [0.0, 2e4]
    assert torch.isfinite(h.grad).all()


def test_no_supervised_row_gives_no_loss_and_a_zero_gradient() -> None:
    h = torch.zeros(0, 4, requires_grad=True)
    total = loss.nll(h, torch.zeros(9, 4), torch.zeros(0, dtype=torch.long)).sum()
    total.backward()
    assert float(total.detach()) == 0.0


def test_no_tensor_of_rows_times_vocabulary_exists() -> None:
    rows, vocab = 64, 200_000
    largest = 0

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if torch.is_tensor(out) and not out._is_view():
                largest = max(largest, out.numel())
            return out

    weight = torch.zeros(vocab, 4)
    h = torch.zeros(rows, 4, requires_grad=True)
    with Spy():
        loss.nll(h, weight, torch.zeros(rows, dtype=torch.long)).sum().backward()
    assert largest <= loss.TILE_ELEMENTS["cpu"]
