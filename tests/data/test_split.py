"""Duplicates and splits."""

from __future__ import annotations

import random

import pytest

from hearmeglm.data.dedup import Signatures, bands, content_key, groups, jaccard, near_pairs
from hearmeglm.data.split import assign, sample
from hearmeglm.recipe import Split
from hearmeglm.types import Dialogue, Message

WORDS = "我你他心情工作学校妈妈朋友睡觉难过开心考试分手压力未来害怕孤独意义时间城市雨天"


def text(seed: int, length: int = 300) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(WORDS) for _ in range(length))


def test_near_duplicates_are_found_and_others_are_not() -> None:
    texts = [text(i) for i in range(60)]
    texts.append(texts[7][:280] + text(999, 20))  # about 0.85
    texts.append(texts[9][:150] + text(998, 150))  # about 0.33
    signatures = Signatures()
    for t in texts:
        signatures.add(t)
    pairs = near_pairs(signatures, 0.8, texts)
    assert [(i, j) for i, j, _ in pairs] == [(7, 60)]
    assert pairs[0][2] == pytest.approx(jaccard(texts[7], texts[60]))
    assert abs(signatures.similarity(7, 60) - pairs[0][2]) < 0.15
    assert len(set(groups(len(texts), pairs))) == len(texts) - 1


def test_bands_find_a_pair_at_the_threshold_almost_surely() -> None:
    for threshold in (0.5, 0.7, 0.8, 0.9):
        count, rows = bands(threshold)
        assert 1 - (1 - threshold**rows) ** count >= 0.99
        assert count * rows <= 96


def test_split_depends_on_content_and_seed_only() -> None:
    keys = [content_key(Dialogue(str(i), (Message("user", text(i)), Message("assistant", "嗯")))) for i in range(200)]
    strata = ["a" if i < 150 else "b" for i in range(200)]
    group = list(range(200))
    group[11] = 10
    split = Split(train=0.7, valid=0.15, test=0.15)
    names = assign(keys, strata, group, split, 42)
    assert [names[:150].count(n) for n in ("train", "valid", "test")] == [106, 22, 22]
    assert names[10] == names[11]
    order = list(range(200))
    random.Random(1).shuffle(order)
    shuffled = assign(
        [keys[i] for i in order], [strata[i] for i in order], [order.index(group[i]) for i in order], split, 42
    )
    assert [shuffled[order.index(i)] for i in range(200)] == names
    assert assign(keys, strata, group, split, 43) != names


def test_sample_keeps_the_order_and_the_choice() -> None:
    keys = [str(i) for i in range(100)]
    chosen = sample(range(100), keys, 10, 1)
    assert chosen == sorted(chosen)
    assert set(sample(range(100), keys, 20, 1)) > set(chosen)


def test_content_key_knows_who_said_it() -> None:
    a = Dialogue("1", (Message("user", "a b"), Message("assistant", "c")), "x")
    b = Dialogue("2", (Message("user", "a  b "), Message("assistant", "c")), "y")
    c = Dialogue("3", (Message("assistant", "a b"), Message("user", "c")))
    assert content_key(a) == content_key(b) != content_key(c)
