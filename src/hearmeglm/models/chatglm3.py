"""ChatGLM3 as transformers' own `Glm`: the same weights under other names, one of them cut into rows.

The published checkpoint needs remote code that current transformers cannot run. Nothing has to be computed to do without
it: both classes rotate interleaved pairs on the first half of each head, share keys and values in groups in the same
order, and put gate before up. Measured against the remote code: logits equal in float32 (tests/models/test_chatglm3.py).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..errors import ModelError
from ..files import cache_dir, read_json, sha256_json, write_json, write_text
from .chatglm3_tokenizer import build_tokenizer, control_tokens
from .convert import SHARD_BYTES, Plan, Slice, console_progress, convert
from .convert_io import TORCH_NAMES, TensorFile, open_checkpoint

NOTICE = """These weights were converted from a ChatGLM3 checkpoint by HearMeGLM; only names and layout were changed.
They are a derivative of ChatGLM3 (Zhipu AI / Z.ai and Tsinghua KEG) and stay under its MODEL_LICENSE, which goes with every copy:
academic use is free, commercial use needs a registration with Zhipu AI.
https://github.com/zai-org/ChatGLM3/blob/main/MODEL_LICENSE

权重由 HearMeGLM 从 ChatGLM3 转换而来，仅更改了名称与排列，仍受 ChatGLM3 模型许可协议约束：学术研究免费，商业使用须登记。
"""
DEFAULTS = {
    "num_layers": 28, "padded_vocab_size": 65024, "hidden_size": 4096, "ffn_hidden_size": 13696, "kv_channels": 128,
    "num_attention_heads": 32, "seq_length": 2048, "layernorm_epsilon": 1e-5, "rmsnorm": True, "post_layer_norm": True,
    "apply_residual_connection_post_layernorm": False, "add_bias_linear": False, "add_qkv_bias": False,
    "multi_query_attention": False, "multi_query_group_num": 1, "quantization_bit": 0, "pre_seq_len": None,
    "rope_ratio": 1, "eos_token_id": 2, "pad_token_id": 0, "attention_dropout": 0.0, "tie_word_embeddings": False,
}  # fmt: skip
"""What ChatGLM3's configuration class takes for a key that config.json does not have."""
LAYER = re.compile(r"transformer\.encoder\.layers\.(\d+)\.(.+)")
RENAMED = {
    "self_attention.dense.weight": "self_attn.o_proj.weight",
    "mlp.dense_h_to_4h.weight": "mlp.gate_up_proj.weight",
    "mlp.dense_4h_to_h.weight": "mlp.down_proj.weight",
    "input_layernorm.weight": "input_layernorm.weight",
    "post_attention_layernorm.weight": "post_attention_layernorm.weight",
}
TOP = {
    "transformer.embedding.word_embeddings.weight": "model.embed_tokens.weight",
    "transformer.encoder.final_layernorm.weight": "model.norm.weight",
    "transformer.output_layer.weight": "lm_head.weight",
}
RECOMPUTED = "transformer.rotary_pos_emb.inv_freq"


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion did: bytes and number of tensors, and what the user should know."""

    folder: Path
    tensors: int
    bytes: int
    warnings: tuple[str, ...]


def is_chatglm3(folder: Path) -> bool:
    """True for a checkpoint directory in ChatGLM3's own layout (as `config.json` says)."""
    path = folder / "config.json"
    return path.is_file() and read_json(path).get("model_type") == "chatglm"


def convert_chatglm3(
    source: Path,
    target: Path,
    *,
    tokenizer: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> Converted:
    """Convert a ChatGLM3 checkpoint directory into one that `AutoModelForCausalLM` loads without remote code.

    Needs a few MiB of memory beside the tokenizer; interrupted, the same call goes on.

    Args:
        source: with config.json, weights (safetensors or .bin, one file or shards) and tokenizer.model.
        target: must not exist.
        tokenizer: tokenizer.model, if it is elsewhere.
        progress: called with bytes done and bytes in all.

    Raises:
        ModelError: what cannot be converted, with the reason.
    """
    if not (source / "config.json").is_file():
        raise ModelError("expected a ChatGLM3 checkpoint directory (config.json), found none", where=str(source))
    old = {**DEFAULTS, **read_json(source / "config.json")}
    config = native_config(old, str(source / "config.json"))
    files = open_checkpoint(source)
    plan = make_plan(files, config, str(source))
    dtypes = {p.spec.dtype for p in plan.values()}
    config["dtype"] = TORCH_NAMES[next(iter(dtypes))] if len(dtypes) == 1 else "float32"
    model_file = tokenizer or source / "tokenizer.model"
    warnings: list[str] = []
    if not model_file.is_file():
        if tokenizer is not None:
            raise ModelError("expected tokenizer.model, found nothing", where=str(model_file))
        warnings.append(f"no tokenizer.model in {source}: converted without a tokenizer (give it with --tokenizer)")
    else:
        control = control_tokens(model_file)
        ends = [control[t] for t in ("<|user|>", "<|observation|>") if control[t] < config["vocab_size"]]
        config["eos_token_id"] = list(dict.fromkeys([*config["eos_token_id"], *ends]))
        if (size := max(control.values()) + 1) > config["vocab_size"]:
            warnings.append(
                f"the tokenizer has {size} tokens, the model {config['vocab_size']}: fits only a model made for tests"
            )

    def others(folder: Path) -> None:
        write_json(folder / "config.json", config)
        generation = {k: config[k] for k in ("eos_token_id", "pad_token_id")}
        write_json(
            folder / "generation_config.json", {"do_sample": True, "temperature": 0.8, "top_p": 0.8, **generation}
        )
        if model_file.is_file():
            build_tokenizer(model_file, folder, config["max_position_embeddings"])
        write_text(folder / "NOTICE", NOTICE)
        licence = next((p for p in (source / "MODEL_LICENSE", source / "LICENSE") if p.is_file()), None)
        if licence:
            write_text(folder / "MODEL_LICENSE", licence.read_text(encoding="utf-8", errors="replace"))

    size = convert(plan, target, others, shard_bytes=shard_bytes, progress=progress)
    return Converted(target, len(plan), size, tuple(warnings))


def native_dir(source: Path) -> Path:
    """The converted form of an original checkpoint in the user's cache, made on first use.

    Raises:
        ModelError: it cannot be converted.
    """
    weights = sorted(p for p in source.iterdir() if p.suffix in (".safetensors", ".bin", ".model", ".json"))
    digest = sha256_json([str(source.resolve()), *([p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in weights)])
    target = cache_dir() / "chatglm3" / f"{source.resolve().name}-{digest[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not (target / "config.json").is_file():
            print(f"Converting {source} to transformers' own Glm (once) into {target}", file=sys.stderr)
            with console_progress("converting") as progress:
                done = convert_chatglm3(source, target, progress=progress)
            for line in done.warnings:
                print(line, file=sys.stderr)
    return target


def native_config(old: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`config.json` of the native model from ChatGLM3's (with `DEFAULTS` filled in).

    Raises:
        ModelError: a setting that the native class has no equal for.
    """
    if old.get("model_type", "chatglm") != "chatglm":
        raise ModelError(f"expected model_type chatglm, found {old['model_type']}", where=where)
    if "position_encoding_2d" in old or "inner_hidden_size" in old:
        raise ModelError("this is the first ChatGLM-6B, another architecture: cannot be converted", where=where)
    refusals = {
        "quantization_bit": (bool(old["quantization_bit"]), "its weights are quantised; convert the 16-bit checkpoint"),
        "pre_seq_len": (old["pre_seq_len"] is not None, "P-Tuning prefixes have no place in the native class"),
        "add_bias_linear": (bool(old["add_bias_linear"]), "the native class has no biases in its linear layers"),
        "apply_residual_connection_post_layernorm": (
            bool(old["apply_residual_connection_post_layernorm"]),
            "the native class adds the residual before the norm",
        ),
        "rmsnorm": (not old["rmsnorm"], "the native class has RMSNorm only"),
        "post_layer_norm": (not old["post_layer_norm"], "the native class always has a final norm"),
        "multi_query_attention": (not old["multi_query_attention"], "its fused weights are ordered in another way"),
        "tie_word_embeddings": (bool(old["tie_word_embeddings"]), "ChatGLM3 has an output layer of its own"),
    }
    wrong = [f"{key} is {old[key]!r}: {why}" for key, (bad, why) in refusals.items() if bad]
    if wrong:
        raise ModelError(f"cannot be converted: {'; '.join(wrong)}", where=where)
    return {
        "architectures": ["GlmForCausalLM"],
        "model_type": "glm",
        "vocab_size": old["padded_vocab_size"],
        "hidden_size": old["hidden_size"],
        "intermediate_size": old["ffn_hidden_size"],
        "num_hidden_layers": old["num_layers"],
        "num_attention_heads": old["num_attention_heads"],
        "num_key_value_heads": old["multi_query_group_num"],
        "head_dim": old["kv_channels"],
        "hidden_act": "silu",
        "attention_bias": old["add_qkv_bias"],
        "attention_dropout": old["attention_dropout"],
        "rms_norm_eps": old["layernorm_epsilon"],
        "max_position_embeddings": old["seq_length"],
        # The long-context variants stretch the base of the rotation; ChatGLM3-6B itself has no rope_ratio.
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0 * old["rope_ratio"],
            "partial_rotary_factor": 0.5,
        },
        "tie_word_embeddings": False,
        "use_cache": True,
        "bos_token_id": None,
        "pad_token_id": old["pad_token_id"] or 0,
        "eos_token_id": _stop_ids(old),
        "initializer_range": 0.02,
    }


def _stop_ids(old: Mapping[str, Any]) -> list[int]:
    """</s>, <|user|> and <|observation|>: all three end a reply in ChatGLM3's own `chat`."""
    own = old["eos_token_id"]
    first = list(own) if isinstance(own, list) else [own if own is not None else 2]
    return list(dict.fromkeys([*first, *(i for i in (64795, 64797) if old["padded_vocab_size"] == 65024)]))


def make_plan(files: Mapping[str, TensorFile], config: Mapping[str, Any], where: str) -> Plan:
    """Which rows of which tensor become which native tensor.

    Raises:
        ModelError: tensors missing, left over, of another shape, or not in floating point.
    """
    prefixed = [n for n in files if "prefix_encoder" in n]
    if prefixed:
        raise ModelError("cannot be converted: a P-Tuning checkpoint (prefix_encoder)", where=where)
    want = expected_shapes(config)
    plan: dict[str, Slice] = {}
    for name, file in files.items():
        spec = file.specs[name]
        if name == RECOMPUTED:
            continue
        if spec.dtype not in TORCH_NAMES:
            raise ModelError(f"cannot be converted: {name} is {spec.dtype}, quantised weights", where=where)
        parts = _targets(name, config)
        if parts is None:
            raise ModelError(
                f"cannot be converted: {name} is not a tensor of ChatGLM3",
                where=where,
                hint="other layouts are refused",
            )
        start = 0
        for target, rows in parts:
            stop = start + rows if rows else spec.shape[0]
            plan[target] = Slice(file, name, start, stop)
            start = stop
        if start != spec.shape[0] or any(plan[t].spec.shape != want.get(t) for t, _ in parts):
            raise ModelError(
                f"{name}: config.json asks for {[want.get(t) for t, _ in parts]}, found {spec.shape}", where=where
            )
    if absent := [n for n in want if n not in plan]:
        raise ModelError(
            f"tensors are missing, the first is what becomes {absent[0]} ({len(absent)} in all)", where=where
        )
    return {name: plan[name] for name in want}


def _targets(name: str, config: Mapping[str, Any]) -> list[tuple[str, int]] | None:
    """Native names with their numbers of rows (0: all) in the order of the rows; None for an unknown tensor."""
    if name in TOP:
        return [(TOP[name], 0)]
    match = LAYER.fullmatch(name)
    if not match:
        return None
    layer, rest = f"model.layers.{match[1]}.", match[2]
    if rest in RENAMED:
        return [(layer + RENAMED[rest], 0)]
    module, _, kind = rest.rpartition(".")
    if module == "self_attention.query_key_value" and kind in ("weight", "bias"):
        return [(f"{layer}self_attn.{p}.{kind}", rows) for p, rows in qkv_rows(config).items()]
    return None


def qkv_rows(config: Mapping[str, Any]) -> dict[str, int]:
    """Rows of the fused query_key_value by native module, in their order."""
    keys = config["num_key_value_heads"] * config["head_dim"]
    return {"q_proj": config["num_attention_heads"] * config["head_dim"], "k_proj": keys, "v_proj": keys}


def expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the native model, in the order they are written."""
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    rows = qkv_rows(config)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes[f"{layer}input_layernorm.weight"] = (hidden,)
        for name, n in rows.items():
            shapes[f"{layer}self_attn.{name}.weight"] = (n, hidden)
            if config["attention_bias"]:
                shapes[f"{layer}self_attn.{name}.bias"] = (n,)
        shapes[f"{layer}self_attn.o_proj.weight"] = (hidden, rows["q_proj"])
        shapes[f"{layer}post_attention_layernorm.weight"] = (hidden,)
        shapes[f"{layer}mlp.gate_up_proj.weight"] = (2 * inner, hidden)
        shapes[f"{layer}mlp.down_proj.weight"] = (hidden, inner)
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}
