"""Loss on the reference answers: how likely a model finds what a counsellor really said."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ..models.template import IGNORE, Template
from ..types import Message
from .items import Item

_ROWS = 64  # rows of logits in float32 at a time: 64 x 262,144 x 4 bytes = 67 MB


@dataclass(frozen=True, slots=True)
class Heldout:
    """Loss of one reference answer.

    Attributes:
        nats: summed negative log likelihood of its tokens, the stop token included.
        tokens: number of those tokens.
        characters: length of the reference in characters.
    """

    id: str
    nats: float
    tokens: int
    characters: int

    @property
    def per_token(self) -> float:
        """Nats per supervised token; comparable only between models with the same tokenizer."""
        return self.nats / max(1, self.tokens)

    @property
    def bits_per_character(self) -> float:
        """Bits per character of text: comparable between tokenizers."""
        return self.nats / math.log(2) / max(1, self.characters)


def heldout(
    model: Any,
    tokenizer: Any,
    template: Template,
    items: Sequence[Item],
    history: Callable[[Item], Sequence[Message]],
    on_item: Callable[[int], None] = lambda n: None,
) -> list[Heldout]:
    """Loss of each item's reference given its history, in the order of `items`.

    Items of one dialogue share a pass: the longest history holds the others as its beginning.

    Args:
        history: the messages before the reference, as this model gets them.
        on_item: called with the number of items done since the last call.
    """
    import torch

    from ..models.attention import use_packed

    out: dict[str, Heldout] = {}
    with torch.inference_mode(), use_packed(model):
        for _, group in groupby(items, key=lambda i: i.dialogue_id):
            same = sorted(group, key=lambda i: i.turn)
            last = same[-1]
            messages = (*history(last), Message("assistant", last.reference))
            encoded = template.encode(messages, tokenizer)
            runs = _runs(encoded.labels)
            turns = sum(m.role == "assistant" for m in messages)
            # the last turn's run is the last one; count back, so that turns before the first question do not matter
            whole = len(runs) == turns
            spans = [runs[len(runs) - 1 - (last.turn - i.turn)] if whole else runs[-1] for i in same]
            nats = _nats(model, encoded.input_ids, spans)
            for item, span, value in zip(same, spans, nats, strict=True):
                out[item.id] = Heldout(item.id, value, span[1] - span[0], len(item.reference))
            on_item(len(same))
    return [out[i.id] for i in items]


def _runs(labels: Sequence[int]) -> list[tuple[int, int]]:
    """Spans of supervised positions."""
    runs, start = [], None
    for at, label in enumerate([*labels, IGNORE]):
        if label != IGNORE and start is None:
            start = at
        elif label == IGNORE and start is not None:
            runs.append((start, at))
            start = None
    return runs


def _nats(model: Any, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[float]:
    """Summed negative log likelihood of each span, from one pass over `ids`."""
    import torch
    from torch.nn.functional import cross_entropy

    end = max(e for _, e in spans)
    row = torch.tensor([list(ids[:end])], device=model.device)
    targets = torch.tensor([at for s, e in spans for at in range(s, e)], device=model.device)
    out = model(input_ids=row, use_cache=False, lengths=(end,), logits_to_keep=targets - 1)
    losses = torch.cat(
        [
            cross_entropy(out.logits[0, at : at + _ROWS].float(), row[0, targets[at : at + _ROWS]], reduction="none")
            for at in range(0, len(targets), _ROWS)
        ]
    )
    return [float(part.sum()) for part in torch.split(losses, [e - s for s, e in spans])]
