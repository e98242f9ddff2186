"""A tiny Gemma 3 with a byte tokenizer, and runs to train it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hearmeglm.files import write_jsonl
from hearmeglm.recipe import Recipe, parse_recipe
from hearmeglm.run import RunDir
from hearmeglm.types import Dialogue, Message

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")


def make_base(folder: Path, *, layers: int = 2, window: int = 16, hidden: int = 32) -> Path:
    """Write the model and its tokenizer; sliding and full layers alternate."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {t: i for i, t in enumerate((*SPECIAL, *letters))}
    raw = Tokenizer(models.BPE(vocab, [], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>",
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=len(vocab), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=hidden // 2, query_pre_attn_scalar=16, sliding_window=window, max_position_embeddings=512,
        layer_types=["sliding_attention", "full_attention"] * (layers // 2), pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip
    Gemma3ForCausalLM(config).save_pretrained(folder)
    return folder


def dialogues(n: int, source: str, start: int = 0) -> list[Dialogue]:
    """Short talks of different lengths."""
    out = []
    for i in range(start, start + n):
        turns: list[Message] = []
        for t in range(1 + i % 3):
            turns += [
                Message("user", f"I feel {'very ' * (i % 4)}sad {i} {t}"),
                Message("assistant", f"I hear you{'.' * (i % 5)} {t}"),
            ]
        out.append(Dialogue(f"{source}-{i}", tuple(turns), source))
    return out


def make_run(
    folder: Path, base: Path, *, train: int = 12, valid: int = 4, lora: dict[str, Any] | None = None, **stage: Any
) -> tuple[Recipe, RunDir]:
    """A run with prepared data and two stages; `stage` overrides settings of both."""
    settings = {
        "epochs": 2,
        "batch_size": 2,
        "accumulation": 2,
        "learning_rate": 1e-2,
        "max_length": 256,
        "dtype": "fp32",
        "samples": False,
        "trackers": [],
        **stage,
    }
    recipe = parse_recipe(
        {
            "name": "tiny",
            "base": str(base),
            "data": {
                "sources": {"talks": {"path": "talks.jsonl"}, "absent": {"path": "absent.jsonl", "optional": True}}
            },
            "stages": {
                "stage1": {"mix": {"persona": 1.5}, **settings},
                "stage2": {"mix": {"talks": 1, "absent": 1}, **settings},
            },
            "lora": {"rank": 4, "alpha": 8, **(lora or {})},
            "evaluation": {"models": ["base"]},
        }
    )
    run = RunDir.create(folder, recipe)
    write_jsonl(run.data.path / "train.jsonl", [*dialogues(train, "persona"), *dialogues(train, "talks")])
    write_jsonl(run.data.path / "valid.jsonl", [*dialogues(valid, "persona", 100), *dialogues(valid, "talks", 100)])
    return recipe, run
