"""Layers that do the same with fewer passes over memory and fewer tensors kept for the backward pass.

Three parts of a decoder are replaced on the instances of a model (its classes stay as they are), each only where it is exactly what the replacement computes:

- a LoRA linear layer: no float32 copy of its input; input and the rank-r product are all that is kept;
- RMS norm: in one autograd node, keeping the input and one number a row;
- the gated MLP: activation times gate in one node, keeping its two inputs.

They need frozen base weights. Anything else (dropout on the adapter, DoRA, quantised or trained base weights) keeps its own forward.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Undo = Callable[[], None]


def fuse(model: nn.Module) -> list[Undo]:
    """Replace what can be replaced; returns one undo function per replaced layer."""
    undo: list[Undo] = []
    for module in model.modules():
        forward = _lora(module) or _norm(module) or _gated(module)
        if forward is not None:
            undo.append(_replace(module, forward))
    return undo


def _replace(module: Any, forward: Callable[..., Any]) -> Undo:
    module.forward = types.MethodType(forward, module)

    def back() -> None:
        del module.forward

    return back


# --- LoRA ---------------------------------------------------------------------------------------------------------------------


class _LoraLinear(torch.autograd.Function):
    """y = x W^T + b + scale (x A^T) B^T, with A and B in float32 and the arithmetic in the dtype of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        down, up = a.to(x.dtype), (b * scale).to(x.dtype)
        low = rows @ down.T
        out = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
        out.addmm_(low, up.T)
        ctx.save_for_backward(rows, low, weight, down, up)
        ctx.shape, ctx.scale, ctx.types = x.shape, scale, (a.dtype, b.dtype)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, down, up = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        d_low = grad @ up
        d_b = (grad.T @ low).to(ctx.types[1]).mul_(ctx.scale)
        d_a = (d_low.T @ rows).to(ctx.types[0])
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = (grad @ weight).addmm_(d_low, down).view(ctx.shape)
        return d_x, None, None, d_a, d_b, None


def _lora(module: Any) -> Callable[..., Any] | None:
    try:
        from peft.tuners.lora.layer import Linear
    except ImportError:
        return None
    if type(module) is not Linear or len(module.active_adapters) != 1:
        return None
    name, base = module.active_adapters[0], module.base_layer
    plain = (
        type(base) is nn.Linear
        and not base.weight.requires_grad
        and name in module.lora_A
        and name not in module.lora_variant
        and not any(module.lora_bias.values())
        and isinstance(module.lora_dropout[name], nn.Identity)
        and not module.fan_in_fan_out
    )
    if not plain:
        return None

    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        base = self.base_layer
        if args or kwargs or self.disable_adapters or self.merged or x.dtype != base.weight.dtype:
            return type(self).forward(self, x, *args, **kwargs)  # type: ignore[no-any-return]
        out = _LoraLinear.apply(  # type: ignore[no-untyped-call]
            x, base.weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
        )
        return out  # type: ignore[no-any-return]

    return forward


# --- RMS norm -----------------------------------------------------------------------------------------------------------------


class _RmsNorm(torch.autograd.Function):
    """y = x / sqrt(mean(x^2) + eps) * gain, per row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = torch.rsqrt(norm.square_().div_(x.shape[-1]).add_(eps))
        ctx.save_for_backward(x, scale, gain)
        return (x * scale).mul_(gain).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, gain = ctx.saved_tensors
        g = grad * gain
        unit = x * scale
        inner = torch.linalg.vecdot(g, unit, dim=-1).unsqueeze_(-1).div_(-x.shape[-1])
        return g.addcmul_(unit, inner).mul_(scale).to(x.dtype), None, None


def _norm(module: nn.Module) -> Callable[..., Any] | None:
    weight = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not type(module).__name__.endswith("RMSNorm") or not isinstance(weight, Tensor) or not isinstance(eps, float):
        return None
    if weight.requires_grad or weight.ndim != 1:
        return None
    offset = _gain_offset(module, weight, eps)
    if offset is None:
        return None
    gain = weight.detach().float() + offset

    def forward(self: Any, x: Tensor) -> Tensor:
        nonlocal gain
        if gain.device != x.device:
            gain = gain.to(x.device)
        return _RmsNorm.apply(x, gain, eps)  # type: ignore[no-any-return, no-untyped-call]

    return forward


def _gain_offset(module: nn.Module, weight: Tensor, eps: float) -> float | None:
    """0 if the module multiplies by its weight (Llama), 1 if by 1 + weight (Gemma), None if it does something else."""
    x = torch.linspace(-1, 2, weight.numel(), device=weight.device).to(weight.dtype)[None]
    with torch.no_grad():
        got = module(x).float()
        unit = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)
    loose = 1e-5 if weight.dtype == torch.float32 else 2e-2
    for offset in (0.0, 1.0):
        want = unit * (weight.float() + offset)
        if torch.allclose(got, want, rtol=loose, atol=loose):
            return offset
    return None


# --- gated MLP ----------------------------------------------------------------------------------------------------------------


class _Gated(torch.autograd.Function):
    """act(gate) * up."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, kind: str) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.kind = kind
        return _activate(gate, kind).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        d_up = _activate(gate, ctx.kind).mul_(grad)
        if ctx.kind == "silu":
            return torch.ops.aten.silu_backward(grad * up, gate), d_up, None
        return torch.ops.aten.gelu_backward(grad * up, gate, approximate=ctx.kind), d_up, None


def _activate(gate: Tensor, kind: str) -> Tensor:
    return nn.functional.silu(gate) if kind == "silu" else nn.functional.gelu(gate, approximate=kind)


def _gated(module: nn.Module) -> Callable[..., Any] | None:
    parts = {name for name, _ in module.named_children()}
    if parts != {"gate_proj", "up_proj", "down_proj", "act_fn"}:
        return None
    kind = _activation(module.act_fn)
    if kind is None or any(p.requires_grad for n, p in module.named_parameters() if "lora_" not in n):
        return None

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.down_proj(_Gated.apply(self.gate_proj(x), self.up_proj(x), kind))  # type: ignore[no-any-return, no-untyped-call]

    return forward


def _activation(act: Any) -> str | None:
    """Which activation it is, by trying."""
    x = torch.linspace(-4, 4, 33)
    try:
        got = act(x)
    except Exception:
        return None
    return next((k for k in ("silu", "tanh", "none") if torch.equal(got, _activate(x, k))), None)
