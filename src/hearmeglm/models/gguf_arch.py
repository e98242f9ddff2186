"""Model architectures in GGUF's terms: tensor names, what is done to a tensor, and the numbers in the head.

One table by `model_type` (a field of config.json, not a name to guess from). The maintained converter on PyPI refuses a
converted ChatGLM3 for its tokenizer, so the writer is ours; it covers the families that the recipes offer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np

from ..errors import ModelError
from .merge import Array

LLAMA_CPP_PATTERN = 6
"""llama.cpp takes every sixth layer of a `gemma3` as a full-attention one."""


@dataclass(frozen=True, slots=True)
class Arch:
    """How one architecture is written.

    Attributes:
        arch: gguf's key.
        norm_offset: added to norm weights (Gemma multiplies by 1 + w).
        interleave: q and k rows are reordered, from rotating halves to rotating neighbours.
    """

    arch: gguf.MODEL_ARCH
    norm_offset: float = 0.0
    interleave: bool = False

    @property
    def name(self) -> str:
        return str(gguf.MODEL_ARCH_NAMES[self.arch])

    def transform(self, name: str, value: Array, config: Mapping[str, Any]) -> Array:
        """A tensor as llama.cpp expects it, from its Hugging Face name and value."""
        if self.norm_offset and name.endswith("norm.weight"):
            return value + np.float32(self.norm_offset)
        if self.interleave and (part := next((p for p in ("q_proj", "k_proj") if p in name), None)):
            heads = config["num_attention_heads" if part == "q_proj" else "num_key_value_heads"]
            halves = value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:])
            return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(value.shape))
        return value


ARCHS = {
    "glm": Arch(gguf.MODEL_ARCH.CHATGLM),
    "gemma3_text": Arch(gguf.MODEL_ARCH.GEMMA3, norm_offset=1.0),
    "llama": Arch(gguf.MODEL_ARCH.LLAMA, interleave=True),
    "qwen2": Arch(gguf.MODEL_ARCH.QWEN2),
    "qwen3": Arch(gguf.MODEL_ARCH.QWEN3),
}


def find_arch(config: Mapping[str, Any]) -> Arch:
    """The table's row for a config.json.

    Raises:
        ModelError: an architecture, or a setting of it, that this writer or llama.cpp does not have.
    """
    kind = str(config.get("model_type"))
    if kind not in ARCHS:
        raise ModelError(
            f"no GGUF writer for model_type {kind} (have {', '.join(ARCHS)})",
            hint="export --format hf, and use llama.cpp's own converter",
        )
    wrong = []
    width = config["num_attention_heads"] * head_dim(config)
    if kind == "glm" and width != config["hidden_size"]:
        wrong.append(f"heads x head_dim is {width}, hidden_size {config['hidden_size']}: must be equal in llama.cpp")
    if kind == "gemma3_text":
        full = [i for i, t in enumerate(config.get("layer_types") or []) if t == "full_attention"]
        layers = config["num_hidden_layers"]
        if full != list(range(LLAMA_CPP_PATTERN - 1, layers, LLAMA_CPP_PATTERN)):
            wrong.append(f"every {LLAMA_CPP_PATTERN}th layer must be a full-attention one in llama.cpp, found {full}")
        if config.get("query_pre_attn_scalar", head_dim(config)) != head_dim(config):
            wrong.append("llama.cpp scales queries by head_dim")
    if wrong:
        raise ModelError(f"cannot be written as GGUF: {'; '.join(wrong)}")
    return ARCHS[kind]


def head_dim(config: Mapping[str, Any]) -> int:
    """Width of one attention head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings of the full-attention layers, wherever this version of transformers keeps them."""
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    found = dict(found.get("full_attention", found))
    found.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    return found


def add_numbers(writer: gguf.GGUFWriter, config: Mapping[str, Any], arch: Arch) -> None:
    """Sizes and constants of the architecture."""
    dim, turn = head_dim(config), rope(config)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_rope_freq_base(float(turn["rope_theta"]))
    share = turn.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    writer.add_rope_dimension_count(int(dim * share))
    if arch.arch == gguf.MODEL_ARCH.GEMMA3:
        writer.add_sliding_window(config["sliding_window"])
    if turn.get("rope_type", "default") not in ("default", "llama3"):
        raise ModelError(f"cannot be written as GGUF: rope_type {turn['rope_type']}")


def rope_factors(config: Mapping[str, Any]) -> Array | None:
    """Llama 3.1's divisors of the rotary frequencies (long waves slowed, short ones kept); None where there are none."""
    turn = rope(config)
    if turn.get("rope_type", turn.get("type")) != "llama3":
        return None
    dim, old = head_dim(config), turn["original_max_position_embeddings"]
    low, high = turn["low_freq_factor"], turn["high_freq_factor"]
    factors = []
    for i in range(0, dim, 2):
        wave = 2 * math.pi * turn["rope_theta"] ** (i / dim)
        smooth = min(max((old / wave - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / turn["factor"] + smooth))
    return np.array(factors, np.float32)
