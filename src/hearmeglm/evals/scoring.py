"""Every number about every answer, as Score rows: the single list that tables, comparisons and the report read."""

from __future__ import annotations

from collections.abc import Sequence

from ..types import Generation, Score
from .heldout import Heldout
from .overlap import overlap
from .overlap_more import score_pair
from .style import style


def score_generations(generations: Sequence[Generation], losses: Sequence[Heldout] = ()) -> list[Score]:
    """Overlap (compatible and by language), style, and where known the loss of the reference, for each answer.

    A value that cannot be had (no content word, no reference) is an unscored row with its reason.
    """
    loss = {h.id: h for h in losses}
    out: list[Score] = []
    for g in generations:
        values: dict[str, float | None] = dict(overlap(g.prediction, g.reference))
        if (h := loss.get(g.id)) is not None:
            values |= {"loss": h.per_token, "bits-per-char": h.bits_per_character}
        values |= score_pair(g.prediction, g.reference)
        values |= {f"style:{name}": value for name, value in style(g.prediction, g.messages).items()}
        out += [
            Score(g.id, g.model, m, v, "" if v is not None else "does not apply to this reply")
            for m, v in values.items()
        ]
    return out
