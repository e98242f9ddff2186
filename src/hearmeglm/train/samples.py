"""A few fixed questions, answered by every evaluated checkpoint: one watches Jerry form."""

from __future__ import annotations

from typing import Any

from ..models.engine import causal_lm
from ..models.generate import generate
from ..models.template import Template
from ..recipe import Sampling
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

    All questions go through together, at most `MAX_NEW_TOKENS` new tokens each.
    """
    prompts = [template.encode_prompt(q, tokenizer) for q in QUESTIONS.values()]
    replies = _generate(model, prompts, template.stop_ids(tokenizer), MAX_NEW_TOKENS)
    return {
        name: tokenizer.decode(ids, skip_special_tokens=True).strip()
        for name, ids in zip(QUESTIONS, replies, strict=True)
    }


def seconds_to_answer(model: Any, new_tokens: int) -> float:
    """Time that the sample answers take if each runs to `new_tokens`: from a prompt and a few steps."""
    import time

    def seconds(n: int) -> float:
        begun = time.perf_counter()
        _generate(model, [[5] * 32] * len(QUESTIONS), [], n)
        return time.perf_counter() - begun

    first, more = seconds(1), seconds(9)
    return first + (more - first) / 8 * new_tokens


def _generate(model: Any, prompts: list[list[int]], stop_ids: list[int], most: int) -> list[list[int]]:
    import torch

    inner, was = causal_lm(model), model.training
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            made = generate(inner, prompts, Sampling(max_new_tokens=most), stop_ids=stop_ids)
    finally:
        model.train(was)
    return [g.ids for g in made]
