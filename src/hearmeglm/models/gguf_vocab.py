"""A fast tokenizer (tokenizer.json) in GGUF's terms.

Two kinds cover our families. BPE with byte fallback is what SentencePiece models become; llama.cpp's `llama` tokenizer
merges by score, and since a merge's rank is all that its score was good for, the ranks are written as scores. BPE over
bytes is llama.cpp's `gpt2`, whose way to split text first is known there by a name, found here by the pattern itself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gguf

from ..errors import ModelError
from ..files import read_json

_GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {
    (_GPT4 % r"\p{N}{1,3}", True): "llama-bpe",
    (_GPT4 % r"\p{N}{1,3}", False): "chatglm-bpe",
    (_GPT4 % r"\p{N}", False): "qwen2",
    ("", False): "gpt-2",
}
"""Split pattern and `ignore_merges` -> llama.cpp's name for them."""
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
Token = gguf.TokenType


def add_vocab(writer: gguf.GGUFWriter, folder: Path, size: int) -> None:
    """Write the tokenizer of a model directory into a GGUF file's head.

    Args:
        size: rows of the embedding; names without a token become unused fillers.

    Raises:
        ModelError: a tokenizer of another kind.
    """
    path = folder / "tokenizer.json"
    tree = read_json(path)
    model = tree["model"]
    if model.get("type") != "BPE":
        raise ModelError(f"expected a BPE tokenizer, found {model.get('type')}", where=str(path))
    fallback = bool(model.get("byte_fallback"))
    tokens, types = _tokens(tree, size, fallback)
    merges = [m if isinstance(m, list) else m.split(" ", 1) for m in model["merges"]]
    writer.add_tokenizer_model("llama" if fallback else "gpt2")
    writer.add_tokenizer_pre("default" if fallback else _split_name(tree, str(path)))
    writer.add_token_list(tokens)
    if fallback:
        rank: dict[str, int] = {}
        for i, (left, right) in enumerate(merges):
            rank.setdefault(left + right, i)
        writer.add_token_scores([-float(rank.get(t, len(merges))) for t in tokens])
        writer.add_add_space_prefix("Prepend" in str(tree.get("normalizer")))
    else:
        writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_token_types(types)


def _tokens(tree: dict[str, Any], size: int, fallback: bool) -> tuple[list[str], list[int]]:
    by_id = {i: t for t, i in tree["model"]["vocab"].items()}
    added = {a["id"]: a for a in tree["added_tokens"]}
    by_id |= {i: a["content"] for i, a in added.items()}
    size = max(size, max(by_id) + 1) if size == 0 else size
    tokens, types = [], []
    for i in range(size):
        token = by_id.get(i)
        if token is None:
            kind = Token.UNUSED
        elif token == tree["model"].get("unk_token"):
            kind = Token.UNKNOWN
        elif i in added:
            kind = Token.CONTROL if added[i]["special"] else Token.USER_DEFINED
        else:
            kind = Token.BYTE if fallback and _BYTE.fullmatch(token) else Token.NORMAL
        tokens.append(token if token is not None else f"[PAD{i}]")
        types.append(int(kind))
    return tokens, types


def _split_name(tree: dict[str, Any], where: str) -> str:
    pre = tree.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    pattern = next((s["pattern"].get("Regex", "") for s in steps if s.get("type") == "Split"), "")
    key = (pattern, bool(tree["model"].get("ignore_merges")))
    if key not in SPLITS:
        raise ModelError(
            "llama.cpp has no name that we know for this tokenizer's way to split text",
            where=where,
            hint="export --format hf, and use llama.cpp's own converter",
        )
    return SPLITS[key]
