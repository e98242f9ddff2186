"""What a stage is trained on: the dialogues of its sources, each as often as the recipe says, as token ids and labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..files import read_jsonl
from ..models.template import IGNORE, Encoded, Template
from ..recipe import PERSONA_SOURCE, Recipe
from ..types import Dialogue

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class Mix:
    """A stage's examples.

    Attributes:
        train, valid: encoded dialogues.
        counts: per source: dialogues found, weight, examples an epoch, tokens and supervised tokens an epoch.
        notes: what the user should know (a source that is missing or off, dialogues that were cut).
    """

    train: list[Encoded]
    valid: list[Encoded]
    counts: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_split(path: Path) -> dict[str, list[Dialogue]]:
    """Dialogues of one split file by source, in file order."""
    by_source: dict[str, list[Dialogue]] = {}
    for line, row in read_jsonl(path):
        try:
            one = Dialogue.from_json(row)
        except (KeyError, TypeError, ValueError) as err:
            raise DataError(f"expected a dialogue, found {err}", where=f"{path}:{line}") from None
        by_source.setdefault(one.source, []).append(one)
    return by_source


def build_mix(recipe: Recipe, stage: str, folder: Path, template: Template, tokenizer: PreTrainedTokenizerBase) -> Mix:
    """Read `folder/{train,valid}.jsonl` and encode what the stage's `mix` asks for.

    A weight of 2 shows every dialogue twice an epoch, 0.5 a fixed half of them (chosen by id and seed).

    Raises:
        DataError: files missing or broken, or nothing left to train on.
    """
    settings = recipe.stages[stage]
    train, valid = read_split(folder / "train.jsonl"), read_split(folder / "valid.jsonl")
    mix = Mix([], [])
    cut = 0
    for source, weight in settings.mix.items():
        found = train.get(source, [])
        if not found:
            mix.notes.append(f"source {source!r}: {_why_missing(recipe, source)}; the stage goes on without it")
        rows = _weighted(found, weight, settings.draw_seed(recipe.seed))
        encoded = {d.id: template.encode(d.messages, tokenizer, settings.max_length) for d in rows}
        silent = [i for i, e in encoded.items() if supervised(e) == 0]
        if silent:
            mix.notes.append(
                f"source {source!r}: {len(silent)} dialogues hold nothing to learn within {settings.max_length} tokens and are left out"
            )
        kept = [encoded[d.id] for d in rows if supervised(encoded[d.id])]
        cut += sum(e.truncated for e in encoded.values())
        mix.train += kept
        mix.counts[source] = {
            "dialogues": len(found),
            "weight": weight,
            "examples": len(kept),
            "tokens": sum(len(e.input_ids) for e in kept),
            "supervised_tokens": sum(map(supervised, kept)),
        }
        if weight > 0:
            held_out = [template.encode(d.messages, tokenizer, settings.max_length) for d in valid.get(source, [])]
            mix.valid += [e for e in held_out if supervised(e)]
    if cut:
        mix.notes.append(f"{cut} dialogues are longer than {settings.max_length} tokens; their later turns are cut")
    if not mix.train:
        raise DataError(
            f"expected dialogues of {', '.join(settings.mix)}, found none",
            where=str(folder / "train.jsonl"),
            hint=f"check stages.{stage}.mix and RUN/data/stats.json",
        )
    return mix


def supervised(example: Encoded) -> int:
    """Number of positions whose prediction is learnt (the first token is never predicted)."""
    return sum(y != IGNORE for y in example.labels[1:])


def _weighted(dialogues: list[Dialogue], weight: float, seed: int) -> list[Dialogue]:
    whole, part = divmod(max(weight, 0.0), 1)

    def rank(d: Dialogue) -> str:
        return hashlib.sha256(f"{seed}:{d.id}".encode()).hexdigest()

    chosen = sorted(dialogues, key=rank)[: round(part * len(dialogues))]
    ids = {d.id for d in chosen}
    return dialogues * int(whole) + [d for d in dialogues if d.id in ids]


def _why_missing(recipe: Recipe, source: str) -> str:
    if source == PERSONA_SOURCE:
        return "no self-cognition pairs in the training split"
    known: Any = recipe.data.sources.get(source)
    return (
        "switched off in the recipe"
        if known is not None and not known.enabled
        else "missing, no dialogues in the training split"
    )
