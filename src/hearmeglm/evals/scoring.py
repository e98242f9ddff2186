"""Every number about every answer, as Score rows: the single list that tables, comparisons and the report read."""

from __future__ import annotations

from collections.abc import Sequence

from ..types import Generation, Score
from .heldout import Heldout
from .overlap import overlap


def score_generations(generations: Sequence[Generation], losses: Sequence[Heldout] = ()) -> list[Score]:
    """Overlap for each answer and, where known, the loss of its reference."""
    loss = {h.id: h for h in losses}
    out: list[Score] = []
    for g in generations:
        values = dict(overlap(g.prediction, g.reference))
        if (h := loss.get(g.id)) is not None:
            values |= {"loss": h.per_token, "bits-per-char": h.bits_per_character}
        out += [Score(g.id, g.model, metric, value) for metric, value in values.items()]
    return out
