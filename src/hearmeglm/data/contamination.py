"""Contamination: does the training data hold (nearly) what the evaluation asks?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..types import Dialogue
from .dedup import NGRAM, Signatures, comparable, jaccard, near_pairs, shingles

LONG = 13
"""Characters of a client utterance that make it worth looking for."""


def contamination(train: Sequence[Dialogue], evaluation: Sequence[Dialogue], threshold: float = 0.5) -> dict[str, Any]:
    """Compare training data with an evaluation set.

    Three looks: whole dialogues that are near-duplicates; client utterances of the evaluation that stand word for word in the
    training data; and for each evaluation dialogue the share of its character 5-grams that its nearest neighbour holds.

    Args:
        threshold: Jaccard similarity from which two dialogues count as near-duplicates.

    Returns:
        `{"train", "evaluation", "near_duplicates": [{evaluation, train, similarity}], "utterances": [{evaluation, utterance,
        trains}], "highest_similarity", "clean": bool}`.
    """
    texts = [comparable(d) for d in (*train, *evaluation)]
    signatures = Signatures()
    for text in texts:
        signatures.add(text)
    n = len(train)
    near = [
        {"evaluation": evaluation[j - n].id, "train": train[i].id, "similarity": round(s, 3)}
        for i, j, s in near_pairs(signatures, threshold, texts)
        if i < n <= j
    ]
    said: dict[str, list[str]] = {}
    for d in train:
        for m in d.messages:
            if m.role == "user" and len(m.content) >= LONG:
                said.setdefault(_plain(m.content), []).append(d.id)
    utterances = [
        {"evaluation": d.id, "utterance": m.content[:60], "trains": said[_plain(m.content)][:3]}
        for d in evaluation
        for m in d.messages
        if m.role == "user" and len(m.content) >= LONG and _plain(m.content) in said
    ]
    highest = 0.0
    rows = signatures.rows
    for j in range(n, len(texts)):
        if n:
            best = int((rows[:n] == rows[j]).mean(axis=1).argmax())
            highest = max(highest, jaccard(texts[best], texts[j]))
    return {
        "train": n,
        "evaluation": len(evaluation),
        "threshold": threshold,
        "near_duplicates": near,
        "utterances": utterances,
        "highest_similarity": round(highest, 3),
        "clean": not near and not utterances,
    }


def overlap_share(a: str, b: str) -> float:
    """Share of the 5-grams of `a` that `b` holds, 0 to 1."""
    left, right = shingles(a, NGRAM), shingles(b, NGRAM)
    return len(left & right) / len(left)


def _plain(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())
