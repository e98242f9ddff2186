"""Let one contestant answer every item: from local weights in batches, or through any ChatModel side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from ..chat.model import ChatModel, complete
from ..files import sha256_json
from ..models.template import Template
from ..recipe import Recipe
from ..types import Generation
from .answers import Answer, AnswerFile
from .contestants import Contestant, cut_at
from .items import Item

_TAIL_TOKENS = 24
"""A stop text is looked for in the text of so many last tokens; longer than any stop text."""


def answer_locally(
    model: Any,
    tokenizer: Any,
    template: Template,
    contestant: Contestant,
    items: Sequence[Item],
    recipe: Recipe,
    file: Path,
    on_reply: Callable[[], None] = lambda: None,
) -> tuple[list[Generation], float]:
    """Batched generation on loaded weights; replies already in `file` are kept.

    Returns:
        Generations in the order of `items`, and the seconds that answering took.
    """
    from ..models.generate import Generated, generate

    sampling = recipe.evaluation.sampling
    history = contestant.history(recipe.persona)
    limit = getattr(model.config, "max_position_embeddings", None)
    room = limit - sampling.max_new_tokens if limit else None
    prompts = [template.encode_prompt(history(item), tokenizer, room) for item in items]
    keys = [sha256_json([contestant.digest, p, sampling.model_dump()]) for p in prompts]
    store = AnswerFile(file)
    missing = [i for i, key in enumerate(keys) if store.get(key) is None]
    stops = (*template.stop_strings, *sampling.stop)

    def ended(ids: list[int]) -> bool:
        tail = tokenizer.decode(ids[-_TAIL_TOKENS:], skip_special_tokens=True)
        return any(s in tail for s in stops)

    def keep(at: int, reply: Generated) -> None:
        text = cut_at(tokenizer.decode(reply.ids, skip_special_tokens=True), stops)
        store.add(
            keys[missing[at]],
            text,
            tokens=len(reply.ids),
            finish_reason=reply.finish_reason,
            first_token_s=round(reply.first_token_s, 4),
            total_s=round(reply.total_s, 4),
        )
        on_reply()

    for _ in range(len(items) - len(missing)):
        on_reply()
    store.start()
    generate(
        model,
        [prompts[i] for i in missing],
        sampling,
        stop_ids=template.stop_ids(tokenizer),
        rows=recipe.evaluation.batch_size,
        seeds=[seed_of(items[i].id) for i in missing],
        ended=ended if stops else None,
        on_reply=keep,
    )
    found = [store.get(key) for key in keys]
    return [_generation(i, contestant, a) for i, a in zip(items, found, strict=True) if a], store.runtime_s(set(keys))


def answer_remotely(
    model: ChatModel,
    contestant: Contestant,
    items: Sequence[Item],
    recipe: Recipe,
    file: Path,
    on_reply: Callable[[], None] = lambda: None,
    workers: int = 16,
) -> tuple[list[Generation], float]:
    """The same through a ChatModel (a server of any kind): `workers` requests at a time."""
    history = contestant.history(recipe.persona)
    store, lock = AnswerFile(file), Lock()
    keys = [
        sha256_json([model.name, [m.to_json() for m in history(i)], recipe.evaluation.sampling.model_dump()])
        for i in items
    ]
    store.start()

    def one(at: int) -> None:
        if store.get(keys[at]) is None:
            sampling = recipe.evaluation.sampling.model_copy(update={"seed": seed_of(items[at].id)})
            reply = complete(model, history(items[at]), sampling)
            with lock:
                store.add(
                    keys[at],
                    reply.text,
                    tokens=reply.tokens,
                    finish_reason=reply.finish_reason,
                    first_token_s=round(reply.first_token_s, 4),
                    total_s=round(reply.total_s, 4),
                )
        on_reply()

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(one, at) for at in range(len(items))]:
            future.result()
    found = [store.get(key) for key in keys]
    return [_generation(i, contestant, a) for i, a in zip(items, found, strict=True) if a], store.runtime_s(set(keys))


def seed_of(item_id: str) -> int:
    """A seed that depends on the item only, so that a resumed run draws the same reply."""
    return int.from_bytes(hashlib.sha256(item_id.encode("utf-8", "surrogatepass")).digest()[:4], "big")


def _generation(item: Item, contestant: Contestant, answer: Answer) -> Generation:
    return Generation(
        item.id,
        item.dialogue_id,
        item.turn,
        contestant.name,
        item.messages,
        answer.text,
        item.reference,
        answer.tokens,
        answer.finish_reason,
        answer.first_token_s,
        answer.total_s,
    )
