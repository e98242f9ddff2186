"""Packed and padded micro-batches, and the order of examples."""

from __future__ import annotations

from collections import Counter

from hearmeglm.models.collate import order, pack, pad
from hearmeglm.models.template import IGNORE, Encoded

A, B = Encoded([5, 6, 7], [5, IGNORE, 7]), Encoded([8, 9], [IGNORE, 9])


def test_pack_restarts_positions_and_cuts_the_link_between_neighbours() -> None:
    batch = pack([A, B])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["labels"].tolist() == [[IGNORE, IGNORE, 7, IGNORE, 9]]
    assert batch["lengths"] == (3, 2)


def test_pad_on_the_right() -> None:
    batch = pad([A, B], pad_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch["labels"].tolist() == [[5, IGNORE, 7], [IGNORE, 9, IGNORE]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_order_shows_every_example_once_an_epoch_and_is_repeatable() -> None:
    lengths = list(range(50))
    for group in (False, True):
        seen = order(lengths, 2.5, 4, seed=1, group=group)
        assert seen == order(lengths, 2.5, 4, seed=1, group=group)
        assert seen != order(lengths, 2.5, 4, seed=2, group=group)
        assert len(seen) == 125
        assert sorted(seen[:50]) == sorted(seen[50:100]) == list(range(50))
        assert max(Counter(seen[100:]).values()) == 1


def test_grouping_puts_like_lengths_together() -> None:
    lengths = [n % 97 for n in range(400)]

    def waste(indices: list[int]) -> int:
        batches = [[lengths[i] for i in indices[s : s + 4]] for s in range(0, 400, 4)]
        return sum(max(b) * len(b) - sum(b) for b in batches)

    assert waste(order(lengths, 1, 4, 0, group=True)) < waste(order(lengths, 1, 4, 0)) / 5
