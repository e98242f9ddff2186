"""Exact and near-duplicates.

Near-duplicates are found by MinHash over character n-grams (datasketch's permutations) and locality-sensitive hashing. The
signatures lie in one array of 4 x `NUM_PERM` bytes a dialogue, and the bands are sorted instead of being kept in dictionaries, so
half a million dialogues need a few hundred megabytes where dictionary-based LSH needs gigabytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..types import Dialogue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NGRAM = 5
NUM_PERM = 96
RECALL = 0.995
"""Chance that a pair exactly at the threshold is found; more similar ones are found more surely."""
_SPACE = re.compile(r"\s+")


def comparable(dialogue: Dialogue) -> str:
    """The text that similarity is measured on: what was said, without the system message, blanks and letter case."""
    return _SPACE.sub("", "\n".join(m.content for m in dialogue.messages if m.role != "system")).lower()


def content_key(dialogue: Dialogue) -> str:
    """Hex digest of who said what; equal for exact duplicates wherever they come from."""
    text = "\x1e".join(f"{m.role}\x1f{_SPACE.sub(' ', m.content).strip()}" for m in dialogue.messages)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def shingles(text: str, n: int = NGRAM) -> set[str]:
    """The character n-grams of a text (the text itself if shorter)."""
    return {text[i : i + n] for i in range(len(text) - n + 1)} or {text}


def jaccard(a: str, b: str) -> float:
    """Jaccard similarity of the character 5-grams of two texts, 0 to 1."""
    left, right = shingles(a), shingles(b)
    return len(left & right) / len(left | right)


def bands(threshold: float, num_perm: int = NUM_PERM) -> tuple[int, int]:
    """(bands, rows a band): the most rows that still find a pair at the threshold with probability `RECALL`.

    The probability is 1 - (1 - s^r)^b (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, section 3.4).
    """
    best = (num_perm, 1)
    for rows in range(1, num_perm + 1):
        count = num_perm // rows
        if 1 - (1 - threshold**rows) ** count >= RECALL:
            best = (count, rows)
    return best


class Signatures:
    """MinHash signatures, added one text at a time; 4 x `num_perm` bytes each."""

    def __init__(self, num_perm: int = NUM_PERM) -> None:
        import numpy as np
        from datasketch import MinHash

        self._np, self._minhash = np, MinHash
        self._template = MinHash(num_perm=num_perm, seed=1, scheme="affine32", hashfunc=int)
        self.num_perm = num_perm
        self._rows: NDArray[np.uint32] = np.empty((1024, num_perm), dtype=np.uint32)
        self.count = 0
        self._mix = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1], dtype=np.uint32)

    def add(self, text: str) -> None:
        """Add the signature of a text."""
        np = self._np
        if self.count == len(self._rows):
            grown = np.empty((2 * self.count, self.num_perm), dtype=np.uint32)
            grown[: self.count] = self._rows
            self._rows = grown
        codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
        if len(codes) < NGRAM:
            codes = np.concatenate([codes, np.zeros(NGRAM - len(codes), dtype=np.uint32)])
        grams = np.zeros(len(codes) - NGRAM + 1, dtype=np.uint32)
        for offset in range(NGRAM):  # a polynomial hash of each n-gram; the permutations mix it further
            grams = (grams ^ codes[offset : len(grams) + offset]) * self._mix[offset]
            grams ^= grams >> np.uint32(15)
        minhash = self._template.copy()
        minhash.update_batch(np.unique(grams).tolist())
        self._rows[self.count] = minhash.hashvalues
        self.count += 1

    @property
    def rows(self) -> NDArray[np.uint32]:
        """All signatures, shape (count, num_perm)."""
        return self._rows[: self.count]

    @property
    def nbytes(self) -> int:
        """Bytes held, spare room included."""
        return int(self._rows.nbytes)

    def similarity(self, i: int, j: int) -> float:
        """Estimated Jaccard similarity of two texts, 0 to 1; standard error at most sqrt(0.25 / num_perm)."""
        return float((self._rows[i] == self._rows[j]).mean())


def near_pairs(
    signatures: Signatures, threshold: float, texts: Sequence[str] | None = None
) -> list[tuple[int, int, float]]:
    """Pairs (i, j, similarity) that are near-duplicates, i < j.

    Members of one bucket are compared with the first and the one before, which is enough to join them into groups and keeps a
    bucket of thousands linear.

    Args:
        texts: if given, each candidate is checked by its exact Jaccard similarity, else by the signatures' estimate.
    """
    import numpy as np

    count, rows = bands(threshold, signatures.num_perm)
    table = signatures.rows
    candidates: set[tuple[int, int]] = set()
    weights = np.random.RandomState(7).randint(1, 2**63 - 1, size=rows, dtype=np.uint64) | np.uint64(1)
    for band in range(count):
        part = table[:, band * rows : (band + 1) * rows].astype(np.uint64)
        keys = (part * weights).sum(axis=1, dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        same = keys[order[1:]] == keys[order[:-1]]
        first = 0
        for position in np.flatnonzero(same).tolist():
            if position == 0 or not same[position - 1]:
                first = int(order[position])
            here, before = int(order[position + 1]), int(order[position])
            candidates.add((min(first, here), max(first, here)))
            candidates.add((min(before, here), max(before, here)))
    found = []
    for i, j in sorted(candidates):
        similarity = jaccard(texts[i], texts[j]) if texts is not None else signatures.similarity(i, j)
        if similarity >= threshold:
            found.append((i, j, similarity))
    return found


def groups(count: int, pairs: Iterable[tuple[int, int, Any]]) -> list[int]:
    """Connected components: for each of `count` items the smallest index of its group."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j, _ in pairs:
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    return [root(i) for i in range(count)]
