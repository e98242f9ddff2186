"""Train, valid and test: by dialogue, from content and seed, stratified by source, near-duplicates on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..recipe import Split

SPLITS = ("train", "valid", "test")


def draw(seed: int, key: str) -> str:
    """A random-looking but reproducible rank of something with this key (hex; sort by it)."""
    return hashlib.sha256(f"{seed}|{key}".encode()).hexdigest()


def assign(keys: Sequence[str], strata: Sequence[str], group: Sequence[int], split: Split, seed: int) -> list[str]:
    """A split's name for each dialogue.

    Only contents and seed decide: neither the order of reading nor names of files do.

    Args:
        keys: content key of each dialogue.
        strata: what to stratify by (the source).
        group: group number of each; members of one group go to one split (to the stratum of the member with the smallest key).
        split: shares.
        seed: of the draw.
    """
    members: dict[int, list[int]] = {}
    for index, number in enumerate(group):
        members.setdefault(number, []).append(index)
    by_stratum: dict[str, list[tuple[str, list[int]]]] = {}
    for indices in members.values():
        head = min(indices, key=lambda i: keys[i])
        by_stratum.setdefault(strata[head], []).append((draw(seed, keys[head]), indices))
    names = ["train"] * len(keys)
    for units in by_stratum.values():
        units.sort(key=lambda unit: unit[0])
        total = sum(len(indices) for _, indices in units)
        room = {"test": round(total * split.test), "valid": round(total * split.valid)}
        if split.train == 0 and split.valid + split.test == 1:  # nothing may be left over for train
            room["valid"] = total - room["test"]
        for _, indices in units:
            for name in ("test", "valid"):
                if room[name] >= len(indices):
                    room[name] -= len(indices)
                    for index in indices:
                        names[index] = name
                    break
    return names


def sample(indices: Sequence[int], keys: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """At most `limit` of the indices, chosen by content and seed, in their old order."""
    if limit is None or len(indices) <= limit:
        return list(indices)
    chosen = set(sorted(indices, key=lambda i: draw(seed, keys[i]))[:limit])
    return [i for i in indices if i in chosen]
