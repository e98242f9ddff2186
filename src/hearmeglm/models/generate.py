"""Batched generation that wastes nothing: prompt ids in, reply ids out.

What it does differently from padded batches that wait for their longest reply:

- prompts of like length are decoded together, and a prompt that is the beginning of another one (an earlier turn of the
  same dialogue) shares its pass;
- prompts are run end to end, without padding; only the positions that are needed reach the output layer;
- keys and values live in preallocated rows (`slots.Slots`); a finished row leaves at once and a waiting prompt takes its place;
- on a CPU the weights are packed once (`packed_linear`).

Greedy replies do not depend on the batch size beyond the rounding of the number format; sampled ones are drawn from a
generator of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ModelError
from ..recipe import Sampling
from .packed_linear import packed_linears
from .padded_slots import PaddedSlots
from .sampling import choose
from .slots import Slots, use_slots

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFILL_TOKENS = 2048
"""Prompts are run together up to about this many tokens a pass."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One reply.

    Attributes:
        ids: token ids, the stop token left out.
        finish_reason: "stop" or "length".
        first_token_s: from the start of its prompt's pass to its first token, in seconds (in a batch: shared time).
        total_s: from the same moment to its last token.
    """

    ids: list[int]
    finish_reason: str
    first_token_s: float
    total_s: float


@dataclass(slots=True)
class _Row:
    index: int
    started: float
    generator: torch.Generator | None
    first: float = 0.0
    ids: list[int] = field(default_factory=list)


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    stop_ids: Iterable[int],
    rows: int = 64,
    padded: int = 0,
    seeds: Sequence[int] | None = None,
    ended: Callable[[list[int]], bool] | None = None,
    on_reply: Callable[[int, Generated], None] | None = None,
) -> list[Generated]:
    """Answer every prompt.

    Args:
        model: a transformers causal model in evaluation mode, adapters merged.
        prompts: token ids, each with its generation prompt.
        sampling: greedy if `temperature` is 0; `stop` is not read here (see `ended`).
        stop_ids: ids that end a reply.
        rows: most replies decoded together.
        padded: if not 0, greedy replies equal bit for bit those that `generate` of transformers gives on left-padded batches of
            this many prompts in the given order (see `padded_slots`); costs prefix sharing and some attention.
        seeds: one per prompt, added to `sampling.seed`; by default the prompt's place in the list.
        ended: called with a reply's ids after each token; True ends it (stop texts).
        on_reply: called with place and reply as soon as a reply is complete, in no particular order.

    Returns:
        Replies in the order of `prompts`.

    Raises:
        ModelError: an empty prompt, one that does not fit the model's context, or a model without attention backends.
    """
    check_model(model, prompts, sampling)
    if not prompts:
        return []
    done: list[Generated | None] = [None] * len(prompts)
    stops = frozenset(stop_ids)
    device = model.device
    slots: Slots | PaddedSlots
    if padded:
        waiting, widths = _batches(prompts, padded)
        slots = PaddedSlots(min(rows, len(prompts)), sampling.max_new_tokens, widths)
    else:
        waiting = families(prompts, rows)
        slots = Slots(min(rows, len(prompts)), max(map(len, prompts)) + sampling.max_new_tokens)
    active: list[_Row] = []

    def generator(index: int) -> torch.Generator | None:
        if sampling.temperature == 0:
            return None
        seed = sampling.seed * 1_000_003 + (seeds[index] if seeds is not None else index)
        return torch.Generator(device).manual_seed(seed % 2**63)

    def advance(rows_: list[_Row], tokens: list[int]) -> list[bool]:
        """Give each row its token; True for those that end."""
        now = time.perf_counter()
        out = []
        for row, token in zip(rows_, tokens, strict=True):
            row.first = row.first or now
            finish = "stop" if token in stops else ""
            if not finish:
                row.ids.append(token)
                if ended is not None and ended(row.ids):
                    finish = "stop"
                elif len(row.ids) >= sampling.max_new_tokens:
                    finish = "length"
            if finish:
                reply = Generated(row.ids, finish, row.first - row.started, now - row.started)
                done[row.index] = reply
                if on_reply is not None:
                    on_reply(row.index, reply)
            out.append(bool(finish))
        return out

    def pick(logits: torch.Tensor, rows_: list[_Row]) -> list[int]:
        before, replies = [prompts[r.index] for r in rows_], [r.ids for r in rows_]
        return choose(logits, before, replies, sampling, [r.generator for r in rows_])

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(use_slots(model))
        stack.enter_context(packed_linears(model, slots.rows))
        while waiting or active:
            # refill once a quarter of the rows is free: a pass over few prompts costs almost as much as over many
            if waiting and (not active or len(active) <= slots.rows * 3 // 4):
                batch = _take(waiting, slots.rows - len(active), prompts)
                if batch:
                    started = time.perf_counter()
                    logits = prefill(model, slots, [list(prompts[f[0]]) for f in batch], _ends(batch, prompts))
                    new = [_Row(i, started, generator(i)) for f in batch for i in f]
                    over = advance(new, pick(logits, new))
                    starts = _starts(batch, prompts)
                    for row, start, end in zip(new, starts, over, strict=True):
                        if not end:
                            slots.admit(start, len(prompts[row.index]))
                            active.append(row)
                    continue
            position = slots.decode(device)
            ids = torch.tensor([[r.ids[-1]] for r in active], device=device)
            out = model(input_ids=ids, position_ids=position, use_cache=False, slots=slots)
            over = advance(active, pick(out.logits[:, -1], active))
            for i in reversed([i for i, end in enumerate(over) if end]):
                other = slots.leave(i)
                active[i] = active[other]
                del active[other]
    return [r for r in done if r is not None]


def families(prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """Group prompts that are beginnings of one another, longest first in each group and overall.

    Returns:
        Lists of at most `most` places in `prompts`; the first of a list holds all the others as prefixes.
    """
    order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]), reverse=True)
    groups: list[list[int]] = []
    for i in order:  # in this order a prefix follows right after what it is a prefix of
        head = prompts[groups[-1][0]] if groups else None
        if head is not None and len(groups[-1]) < most and list(head[: len(prompts[i])]) == list(prompts[i]):
            groups[-1].append(i)
        else:
            groups.append([i])
    return sorted(groups, key=lambda g: -len(prompts[g[0]]))


def _batches(prompts: Sequence[Sequence[int]], size: int) -> tuple[list[list[int]], list[int]]:
    """Each prompt by itself, batches of `size` in data order kept together, widest batch first; and the width of its batch."""
    batches = [range(i, min(i + size, len(prompts))) for i in range(0, len(prompts), size)]
    width = {b.start: max(len(prompts[i]) for i in b) for b in batches}
    batches.sort(key=lambda b: -width[b.start])
    return [[i] for b in batches for i in b], [width[b.start] for b in batches for _ in b]


def _take(waiting: list[list[int]], free: int, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Remove and return the next groups that fit into `free` rows and one pass."""
    batch: list[list[int]] = []
    tokens = 0
    for group in list(waiting):
        size = len(prompts[group[0]])
        if len(group) > free or (batch and tokens + size > PREFILL_TOKENS):
            if batch:
                break
            continue
        waiting.remove(group)
        batch.append(group)
        free -= len(group)
        tokens += size
    return batch


def _starts(batch: list[list[int]], prompts: Sequence[Sequence[int]]) -> list[int]:
    """Where each member's prompt begins in the packed pass, in the order of the members."""
    out, start = [], 0
    for group in batch:
        out += [start] * len(group)
        start += len(prompts[group[0]])
    return out


def _ends(batch: list[list[int]], prompts: Sequence[Sequence[int]]) -> list[int]:
    """Position of each member's last prompt token in the packed pass."""
    members = [i for group in batch for i in group]
    return [start + len(prompts[i]) - 1 for start, i in zip(_starts(batch, prompts), members, strict=True)]


def prefill(model: Any, slots: Slots | PaddedSlots, heads: list[list[int]], ends: list[int]) -> torch.Tensor:
    """Run prompts end to end in one packed pass, ready for `slots.admit`; logits (len(ends), V) at positions `ends`."""
    slots.prefill([len(h) for h in heads])
    device = model.device
    ids = torch.tensor([[i for h in heads for i in h]], device=device)
    positions = torch.tensor([[p for h in heads for p in range(len(h))]], device=device)
    keep = torch.tensor(ends, device=device)
    out = model(input_ids=ids, position_ids=positions, use_cache=False, slots=slots, logits_to_keep=keep)
    logits: torch.Tensor = out.logits[0]
    return logits


def check_model(model: Any, prompts: Sequence[Sequence[int]], sampling: Sampling) -> None:
    """Whether `model` can take these prompts (none: whether it can take any).

    Raises:
        ModelError: it has no attention backends, or a prompt is empty or too long with its reply.
    """
    if not getattr(model, "_supports_attention_backend", False):
        raise ModelError(f"{type(model).__name__} does not support attention backends", hint="convert it, or serve it")
    limit = getattr(model.config, "max_position_embeddings", None)
    for i, prompt in enumerate(prompts):
        if not prompt:
            raise ModelError("expected a prompt of at least one token, found none", where=f"prompt {i}")
        if limit and len(prompt) + sampling.max_new_tokens > limit:
            raise ModelError(
                f"expected prompt and reply within {limit} tokens, found {len(prompt)} + {sampling.max_new_tokens}",
                where=f"prompt {i}",
                hint="shorten the dialogue or lower max_new_tokens",
            )
