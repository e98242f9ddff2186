"""A tiny random model and tokenizer of each family, built here: no hub, no download."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

CORPUS = [
    "我最近总是睡不好，心里空落落的。", "你愿意多说一说吗？我在听。", "I feel tired and alone these days.", "That sounds hard. Tell me more.",
    "来访者：我该怎么办？", "心理咨询师：慢慢来，我陪着你。", "user assistant system model", "It is 2024, and 3 of 10 people sleep badly.",
] * 4  # fmt: skip
SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "max_position_embeddings": 512, "initializer_range": 0.3,
}  # fmt: skip
GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _sentencepiece(folder: Path, **options: Any) -> Any:
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corpus.txt").write_text("\n".join(CORPUS), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"), model_prefix=str(folder / "tokenizer"), vocab_size=420, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2, **options,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def _byte_level(
    folder: Path,
    special: list[str],
    digits: str,
    *,
    ignore_merges: bool = False,
    added: tuple[str, ...] = (),
    **named: str,
) -> int:
    """Train and save; returns the number of tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(GPT4 % digits), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    raw.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    raw.add_tokens([AddedToken(t, normalized=False) for t in added])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, additional_special_tokens=special, **named)
    tokenizer.save_pretrained(folder)
    return int(raw.get_vocab_size())


def _save(folder: Path, cls: str, config: str, **settings: Any) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    made = getattr(transformers, config)(**{**SIZES, **settings})
    getattr(transformers, cls)(made).save_pretrained(folder)


def chatglm3(folder: Path, **changes: Any) -> Path:
    """In ChatGLM3's own layout: recipes convert it on first use."""
    import torch
    from safetensors.torch import save_file

    pieces = _sentencepiece(folder).vocab_size()
    config = {
        "model_type": "chatglm", "padded_vocab_size": pieces + 16, "hidden_size": 64, "ffn_hidden_size": 96, "num_layers": 2, "kv_channels": 16,
        "num_attention_heads": 4, "multi_query_attention": True, "multi_query_group_num": 2, "add_qkv_bias": True, "seq_length": 512,
        **changes,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    save_file(original_tensors(config), folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.get_default_dtype() == torch.float32
    return folder


def original_tensors(config: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Random weights under ChatGLM3's names."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    hidden, inner, vocab = config["hidden_size"], config["ffn_hidden_size"], config["padded_vocab_size"]
    width = config["num_attention_heads"] * config["kv_channels"]
    fused = width + 2 * config["multi_query_group_num"] * config["kv_channels"]

    def make(*shape: int) -> Any:
        return torch.randn(shape, generator=draw) * 0.3

    out = {"transformer.embedding.word_embeddings.weight": make(vocab, hidden)}
    for i in range(config["num_layers"]):
        layer = f"transformer.encoder.layers.{i}."
        out[f"{layer}input_layernorm.weight"] = 1 + make(hidden)
        out[f"{layer}self_attention.query_key_value.weight"] = make(fused, hidden)
        if config["add_qkv_bias"]:
            out[f"{layer}self_attention.query_key_value.bias"] = make(fused)
        out[f"{layer}self_attention.dense.weight"] = make(hidden, width)
        out[f"{layer}post_attention_layernorm.weight"] = 1 + make(hidden)
        out[f"{layer}mlp.dense_h_to_4h.weight"] = make(2 * inner, hidden)
        out[f"{layer}mlp.dense_4h_to_h.weight"] = make(hidden, inner)
    out["transformer.encoder.final_layernorm.weight"] = 1 + make(hidden)
    out["transformer.output_layer.weight"] = make(vocab, hidden)
    out["transformer.rotary_pos_emb.inv_freq"] = make(config["kv_channels"] // 4)
    return out


def glm4(folder: Path) -> Path:
    special = [
        "<|endoftext|>",
        "[MASK]",
        "[gMASK]",
        "[sMASK]",
        "<sop>",
        "<eop>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|observation|>",
    ]
    size = _byte_level(folder, special, r"\p{N}{1,3}", eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    end = size - len(special)
    _save(
        folder, "GlmForCausalLM", "GlmConfig", vocab_size=size, attention_bias=True, tie_word_embeddings=False, rms_norm_eps=1.5625e-7,
        pad_token_id=end, eos_token_id=[end], rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    )  # fmt: skip
    return folder


def qwen2(folder: Path) -> Path:
    size = _byte_level(
        folder,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        r"\p{N}",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    _save(folder, "Qwen2ForCausalLM", "Qwen2Config", vocab_size=size, tie_word_embeddings=True, eos_token_id=size - 1)
    return folder


def qwen3(folder: Path) -> Path:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    size = _byte_level(
        folder, special, r"\p{N}", added=("<think>", "</think>"), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )  # fmt: skip
    _save(folder, "Qwen3ForCausalLM", "Qwen3Config", vocab_size=size, tie_word_embeddings=False, eos_token_id=size - 3)
    return folder


def llama3(folder: Path) -> Path:
    special = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|eom_id|>",
    ]
    size = _byte_level(
        folder, special, r"\p{N}{1,3}", ignore_merges=True, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"
    )
    rope = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }  # fmt: skip
    _save(
        folder,
        "LlamaForCausalLM",
        "LlamaConfig",
        vocab_size=size,
        rope_parameters=rope,
        tie_word_embeddings=False,
        bos_token_id=size - 6,
        eos_token_id=size - 2,
    )
    return folder


def gemma3(folder: Path) -> Path:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    from hearmeglm.models.chatglm3_tokenizer import SPACE, merges_of

    pieces = _sentencepiece(
        folder,
        add_dummy_prefix=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
    )
    vocab = {pieces.id_to_piece(i): i for i in range(pieces.vocab_size())}
    raw = Tokenizer(models.BPE(vocab, merges_of(pieces, vocab), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    raw.normalizer = normalizers.Replace(" ", SPACE)
    raw.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    named = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    raw.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in named])
    raw.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        additional_special_tokens=named[4:],
    )
    tokenizer.save_pretrained(folder)
    _save(
        folder, "Gemma3ForCausalLM", "Gemma3TextConfig", vocab_size=raw.get_vocab_size(), num_hidden_layers=6, num_key_value_heads=1,
        layer_types=["sliding_attention"] * 5 + ["full_attention"], sliding_window=64, query_pre_attn_scalar=16, initializer_range=0.2,
        pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip
    return folder


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "chatglm3": chatglm3, "glm4": glm4, "qwen2": qwen2, "qwen3": qwen3, "llama3": llama3, "gemma": gemma3,
}  # fmt: skip
"""Template name -> maker."""
