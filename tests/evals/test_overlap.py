"""The compatible overlap numbers: equal to the golden file, and to the packages that define them on hostile text."""

import json
import random
import warnings
from pathlib import Path

import pytest

from hearmeglm.evals import overlap as o

GOLDEN = Path(__file__).parents[2].parent / "shared" / "data" / "metrics" / "overlap_golden.jsonl"


@pytest.mark.skipif(not GOLDEN.is_file(), reason="needs ../shared/data/metrics")
def test_equals_the_golden_values_on_every_pair():
    rows = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 120
    for row in rows:
        assert o.overlap(row["predict"], row["label"]) == {m: row[m] for m in o.METRICS}


def incumbent(predict: str, label: str) -> dict[str, float]:
    """The same numbers by the packages that define them."""
    import jieba
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from rouge_chinese import Rouge

    a, b = list(jieba.cut(predict)), list(jieba.cut(label))
    scores = {"rouge-1": 0.0, "rouge-2": 0.0, "rouge-l": 0.0}
    if " ".join(a).split() and " ".join(b).split():
        scores = {k: v["f"] for k, v in Rouge().get_scores(" ".join(a), " ".join(b))[0].items()}
    scores["bleu-4"] = sentence_bleu([list(label)], list(predict), smoothing_function=SmoothingFunction().method3)
    return {k: round(v * 100, 4) for k, v in scores.items()}


def test_equals_rouge_chinese_and_nltk_on_hostile_text():
    rng = random.Random(5)
    alphabet = [
        "我",
        "你好",
        "。",
        "！！",
        "？”",
        "……",
        "......",
        "\n",
        " ",
        "  ",
        "\t",
        "a",
        "Hello ",
        "，",
        "’",
        "没有什么",
        "😀",
        "?",
        "1.5",
        "。\n\n",
    ]
    o.jieba_cut()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(400):
            p, q = ("".join(rng.choices(alphabet, k=rng.randrange(25))) for _ in "ab")
            assert o.overlap(p, q) == incumbent(p, q), (p, q)


def test_lcs():
    assert o.lcs_length("abcbdab", "bdcaba") == 4
    assert o.lcs_length("", "abc") == o.lcs_length("abc", "") == 0


def test_averages_of_nothing_are_unknown_not_zero():
    assert o.averages([])["bleu-4"] is None
