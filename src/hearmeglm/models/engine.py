"""Makes a causal language model of transformers train fast: loss at supervised positions only, packed batches, fused layers.

Nothing is decided by a model's name. `accelerate_training` puts the fast parts in place and then *tries* them: on a small batch the loss must equal the model's own.
A part that does not fit is left out, and the returned `Engine` says so.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from . import attention, fused
from .collate import pack, pad
from .loss import nll
from .template import IGNORE, Encoded

PROBE_LENGTHS = (5, 9)
"""Two short segments show a leak between neighbours, a wrong shift and a wrong scale."""


@dataclass(frozen=True)
class Engine:
    """What was put in place.

    Attributes:
        loss: logits at supervised positions only, made tile by tile.
        packing: batches may be packed.
        fused: number of layers replaced by fused ones.
        reasons: for each part left out, why.
    """

    loss: bool
    packing: bool
    fused: int = 0
    reasons: tuple[str, ...] = ()

    @contextmanager
    def training(self, model: Any) -> Iterator[None]:
        """Within the block `model` attends to packed segments (if it can)."""
        if not self.packing:
            yield
            return
        with attention.use_packed(causal_lm(model)):
            yield


def causal_lm(model: Any) -> Any:
    """The transformers model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def accelerate_training(model: Any, *, packing: bool = True, fuse: bool = True, smoothing: float = 0.0) -> Engine:
    """Put the fast parts into `model` (a transformers causal LM, bare or in a PEFT wrapper), as far as they fit.

    Args:
        packing: try packed batches.
        fuse: try fused layers.
        smoothing: label smoothing of the training loss.
    """
    inner = causal_lm(model)
    reasons: list[str] = []
    original = inner.forward
    batch = _probe_batch(inner)
    with _still(model):
        want = _loss(model, pad(batch, 0), inner)
        fast = _fits_loss(inner)
        if fast is None:
            inner.forward = types.MethodType(_forward_with(original, smoothing=0.0), inner)
            got = _try(lambda: _loss(model, pad(batch, 0), inner))
            fast = _differs(want, got, inner)
        inner.forward = original
        if fast is not None:
            return Engine(False, False, 0, (f"plain loss with full logits: {fast}",))
        inner.forward = types.MethodType(_forward_with(original, smoothing=0.0), inner)
        packs = False
        if packing:
            with attention.use_packed(inner):
                got = _try(lambda: _loss(model, pack(batch), inner))
            why = _differs(want, got, inner)
            packs = why is None
            if why:
                reasons.append(f"padded batches: {why}")
        layers = 0
        if fuse:
            undo = fused.fuse(model)
            layers = len(undo)
            why = _differs(want, _try(lambda: _loss(model, pad(batch, 0), inner)), inner) if undo else None
            if why:
                for back in undo:
                    back()
                layers = 0
                reasons.append(f"layers as they are: {why}")
    inner.forward = types.MethodType(_forward_with(original, smoothing=smoothing), inner)
    return Engine(True, packs, layers, tuple(reasons))


def _fits_loss(inner: Any) -> str | None:
    """Why the output layer is not one that `nll` can stand for; None if it is."""
    head: Any = inner.get_output_embeddings()
    if head is None or type(head) is not torch.nn.Linear:
        return f"the output layer is {type(head).__name__}, not a plain Linear"
    if getattr(head, "bias", None) is not None:  # torch types it as always there
        return "the output layer has a bias"
    return None


def _forward_with(original: Any, smoothing: float) -> Any:
    """A `forward` that makes the loss at supervised positions, and no logits, when it is given labels; else the original's."""

    def forward(
        self: Any, input_ids: Any = None, labels: Any = None, num_items_in_batch: Any = None, **kwargs: Any
    ) -> Any:
        if labels is None:
            kwargs.pop("lengths", None)
            return original(input_ids=input_ids, **kwargs)
        from transformers.modeling_outputs import CausalLMOutputWithPast

        kwargs = {k: v for k, v in kwargs.items() if k not in ("logits_to_keep", "return_dict", "use_cache")}
        out = self.get_decoder()(input_ids=input_ids, use_cache=False, **kwargs)
        targets = labels[:, 1:]
        chosen = targets != IGNORE
        losses = nll(
            out.last_hidden_state[:, :-1][chosen],
            self.get_output_embeddings().weight,
            targets[chosen],
            softcap=getattr(self.config, "final_logit_softcapping", None),
            smoothing=smoothing if self.training else 0.0,
        )
        count = len(losses) if num_items_in_batch is None else num_items_in_batch
        if torch.is_tensor(count):
            count = count.to(losses.device)
        return CausalLMOutputWithPast(loss=losses.sum() / count)

    return forward


def _probe_batch(inner: Any) -> list[Encoded]:
    draw = torch.Generator().manual_seed(0)
    high = inner.get_input_embeddings().num_embeddings
    out = []
    for n in PROBE_LENGTHS:
        ids = torch.randint(3, high, (n,), generator=draw).tolist()
        out.append(Encoded(ids, [IGNORE] * 2 + ids[2:]))
    return out


def _loss(model: Any, batch: dict[str, Any], inner: Any) -> float:
    device = inner.get_input_embeddings().weight.device
    moved = {k: v.to(device) if torch.is_tensor(v) else v for k, v in batch.items()}
    with torch.no_grad():
        return float(model(**moved).loss)


def _try(run: Any) -> float | str:
    try:
        return float(run())
    except Exception as err:  # whatever an unknown architecture raises, the answer is: it does not fit
        return f"{type(err).__name__}: {str(err).splitlines()[0][:120] if str(err) else ''}"


def _differs(want: float, got: float | str, inner: Any) -> str | None:
    if isinstance(got, str):
        return got
    loose = 1e-4 if inner.dtype == torch.float32 else 3e-2  # half precision rounds each state to about 3 digits
    if abs(want - got) <= loose * max(1.0, abs(want)):
        return None
    return f"its loss would be {got:.6f} where the model's own is {want:.6f}"


@contextmanager
def _still(model: Any) -> Iterator[None]:
    """Evaluation mode and an untouched random state within the block."""
    was = model.training
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        model.train(was)


def checkpoint_layers(model: Any) -> None:
    """Keep only the input of each layer for the backward pass and make the rest again: less memory, about a third more time."""
    inner = causal_lm(model)
    enable = (
        getattr(inner, "activation_checkpointing_enable", None) or inner.gradient_checkpointing_enable
    )  # renamed in transformers 5.2x
    enable({"use_reentrant": False})
