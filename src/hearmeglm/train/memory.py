"""Memory by arithmetic: what a model takes in training, from its config alone. GB = 1e9 bytes.

The constants were measured with saved-tensor hooks on layers of ChatGLM3-6B's real size (CPU, LoRA on all linear layers, plain PEFT layers):
269,640 bytes a token and layer at hidden size 4,096, intermediate 13,696, i.e. 7.73 GB for a sequence of 1,024 tokens; a checkpointed layer
keeps its input (2 bytes × hidden) and one layer at a time is made again. The logits and their loss take 16 bytes × vocabulary a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..recipe import Recipe, Stage

PLAIN_LAYER_BYTES = 269_640 / (6 * 4096 + 4 * 4096 + 2 * 256 + 3 * 13_696)
"""Bytes per element that a plain PEFT layer keeps, by the count of `_width`."""
FUSED_LAYER_BYTES = 2.0
"""With the fused layers of `models.fused`: the same elements once, in bfloat16."""
LOGIT_BYTES = 16
CONTEXT = 0.6e9
"""CUDA context and allocator."""
TRAINED_BYTES = 16
"""Per trained parameter: float32 weight, gradient and AdamW's two moments."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder, read from a transformers config.

    Attributes:
        parameters: all of them. linear: those in linear layers of the body (4 bits under QLoRA). trainable: trained ones.
    """

    hidden: int
    intermediate: int
    layers: int
    query: int
    keys: int
    vocab: int
    parameters: int
    linear: int
    trainable: int


def shape_of(config: Any, parameters: int, linear: int, trainable: int) -> Shape:
    """Sizes from a transformers config and counts of parameters."""
    c = config.get_text_config()
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    groups = getattr(c, "num_key_value_heads", None) or c.num_attention_heads
    return Shape(
        c.hidden_size,
        c.intermediate_size,
        c.num_hidden_layers,
        c.num_attention_heads * head,
        groups * head,
        c.vocab_size,
        parameters,
        linear,
        trainable,
    )


def _width(s: Shape) -> int:
    """Elements a layer keeps per token: its states, q k v and their output, gate, up and their product."""
    return 6 * s.hidden + 4 * s.query + 2 * s.keys + 3 * s.intermediate


def training_bytes(s: Shape, tokens: int, *, four_bit: bool, checkpointing: bool, fused: bool) -> float:
    """Bytes a LoRA training takes with `tokens` in a micro-batch.

    Args:
        fused: with this tool's fused layers and chunked loss; else a plain stack with full logits.
    """
    frozen = s.parameters - s.trainable
    weights = (frozen - s.linear) * 2 + s.linear * 0.516 + 2 * s.hidden * s.intermediate * 2 if four_bit else frozen * 2
    layer = _width(s) * (FUSED_LAYER_BYTES if fused else PLAIN_LAYER_BYTES) * tokens
    kept = s.layers * 2 * s.hidden * tokens + 1.57 * layer if checkpointing else s.layers * layer
    logits = 0.2e9 if fused else LOGIT_BYTES * s.vocab * tokens
    return weights + TRAINED_BYTES * s.trainable + CONTEXT + kept + logits


def table(s: Shape, length: int, *, fused: bool) -> list[dict[str, Any]]:
    """GB for batches of 1, 2, 4 and 6 sequences of `length` tokens, by weight format and checkpointing."""
    rows = []
    for four_bit in (False, True):
        for checkpointing in (True, False):
            gb = {
                str(b): round(
                    training_bytes(s, b * length, four_bit=four_bit, checkpointing=checkpointing, fused=fused) / 1e9, 1
                )
                for b in (1, 2, 4, 6)
            }
            rows.append({"weights": "nf4" if four_bit else "bf16", "checkpointing": checkpointing, "gb": gb})
    return rows


def widest(lengths: Sequence[int], indices: Sequence[int], batch: int) -> int:
    """Tokens of the largest micro-batch when examples come in the order of `indices`."""
    return max(sum(lengths[i] for i in indices[s : s + batch]) for s in range(0, len(indices), batch))


def wants_checkpointing(recipe: Recipe, settings: Stage, model: Any, tokens: int, device: str) -> bool:
    """The recipe's choice; for `auto`: whether micro-batches of so many tokens would not fit into 85 % of the memory that is free."""
    if settings.checkpointing != "auto":
        return settings.checkpointing == "on"
    import torch

    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    shape = shape_of(model.config, total, 0, trained)
    need = training_bytes(shape, tokens, four_bit=False, checkpointing=False, fused=recipe.lora.method == "lora")
    if device.startswith("cuda"):
        need -= sum(p.numel() * p.element_size() for p in model.parameters())
        return bool(need > 0.85 * torch.cuda.mem_get_info()[0])
    return bool(need - 2 * total > 0.85 * device_memory(device)["available"])


def device_memory(device: str) -> dict[str, int]:
    """Total and available bytes of the device."""
    import torch

    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info()
        return {"total": int(total), "available": int(free)}
    import psutil  # type: ignore[import-untyped]  # comes with accelerate

    found = psutil.virtual_memory()
    return {"total": int(found.total), "available": int(found.available)}
