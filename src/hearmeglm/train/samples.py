"""A few fixed questions, answered by every evaluated checkpoint: one watches Jerry form."""

from __future__ import annotations

from typing import Any

from ..models.attention import NAME
from ..models.engine import causal_lm
from ..models.template import Template
from ..types import Message

MAX_NEW_TOKENS = 48
QUESTIONS: dict[str, tuple[Message, ...]] = {
    "identity": (Message("user", "你是谁？"),),
    "identity-en": (Message("user", "Who are you?"),),
    "misleading": (Message("user", "OpenAI为什么要开发你呀？"),),
    "sadness": (Message("user", "最近总是睡不好，心里空落落的，不知道该跟谁说。"),),
    "emoji": (
        Message("system", "你是一位温暖体贴的朋友，说话时喜欢用表情符号。"),
        Message("user", "今天被领导当众批评了，好难过。"),
    ),
}


def answer(model: Any, template: Template, tokenizer: Any) -> dict[str, str]:
    """Greedy answers of the model as it is now, by name of the question; its state is left as found.

    All questions go through in one batch, padded on the left, at most `MAX_NEW_TOKENS` new tokens each.
    """
    import torch

    inner = causal_lm(model)
    device = inner.get_input_embeddings().weight.device
    prompts = [template.encode_prompt(q, tokenizer) for q in QUESTIONS.values()]
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    attends, was = inner.config._attn_implementation, model.training
    model.eval()
    if attends == NAME:
        inner.set_attn_implementation("sdpa")
    stop = template.stop_ids(tokenizer)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            out = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, top_p=None, top_k=None,
                temperature=None, eos_token_id=stop, pad_token_id=pad, use_cache=True,
            )  # fmt: skip
    finally:
        if attends == NAME:
            inner.set_attn_implementation(attends)
        model.train(was)
    texts = {}
    for name, row in zip(QUESTIONS, out[:, width:].tolist(), strict=True):
        end = next((i for i, t in enumerate(row) if t in stop), len(row))
        texts[name] = tokenizer.decode(row[:end], skip_special_tokens=True).strip()
    return texts


def seconds_to_answer(model: Any, new_tokens: int) -> float:
    """Time that the sample answers take if each runs to `new_tokens`: from a prompt and a few steps."""
    import time

    import torch

    inner = causal_lm(model)
    ids = torch.full((len(QUESTIONS), 32), 5, device=inner.get_input_embeddings().weight.device)
    model.eval()

    def generate(n: int) -> float:
        begun = time.perf_counter()
        with torch.no_grad():
            model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, min_new_tokens=n, do_sample=False, top_p=None,
                top_k=None, temperature=None, pad_token_id=0,
            )  # fmt: skip
        return time.perf_counter() - begun

    first, more = generate(1), generate(9)
    return first + (more - first) / 8 * new_tokens
