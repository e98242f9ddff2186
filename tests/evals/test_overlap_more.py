"""Word BLEU and chrF equal sacrebleu's; the rest is counted by hand."""

import random

import pytest
import sacrebleu

from hearmeglm.evals import overlap_more as o
from hearmeglm.evals.language import language

EN = [
    "I hear how tired you are.",
    "You aren't alone, really; it's 3.5 times as hard!",
    "That sounds hard",
    "ok",
    "I hear how very tired you are, and I am here.",
]
ZH = [
    "我听到了，你很累。",
    "这听起来真的不容易，你愿意多说一点吗？",
    "谢谢你告诉我",
    "嗯",
    "我听到了，你真的很累，我在这里陪你。",
]


def pairs(texts, n=60):
    draw = random.Random(2)
    return [(" ".join(draw.choices(texts, k=draw.randrange(3))), draw.choice(texts)) for _ in range(n)]


def test_english_word_bleu_is_sacrebleus():
    for p, r in pairs(EN):
        expected = sacrebleu.sentence_bleu(p, [r], tokenize="13a", use_effective_order=True).score
        assert o.score_pair(p, r, "en")["bleu-word"] == pytest.approx(expected, abs=1e-3)


def test_chinese_word_bleu_is_sacrebleus_on_jieba_words():
    for p, r in pairs(ZH):
        cut = [" ".join(o.words(t, "zh")) for t in (p, r)]
        expected = sacrebleu.sentence_bleu(cut[0], [cut[1]], tokenize="none", use_effective_order=True).score
        assert o.score_pair(p, r, "zh")["bleu-word"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("texts", "lang"), [(EN, "en"), (ZH, "zh")])
def test_chrf_and_corpus_values_are_sacrebleus(texts, lang):
    some = pairs(texts)
    for p, r in some:
        assert o.score_pair(p, r, lang)["chrf"] == pytest.approx(sacrebleu.sentence_chrf(p, [r]).score, abs=1e-3)
    got = o.corpus(some, lang)
    ps, rs = [p for p, _ in some], [r for _, r in some]
    assert got["chrf (corpus)"] == pytest.approx(sacrebleu.corpus_chrf(ps, [rs]).score, abs=1e-3)
    if lang == "zh":
        ps, rs = ([" ".join(o.words(t, "zh")) for t in side] for side in (ps, rs))
    tok = "13a" if lang == "en" else "none"
    assert got["bleu-word (corpus)"] == pytest.approx(
        sacrebleu.corpus_bleu(ps, [rs], tokenize=tok, force=True).score, abs=1e-3
    )


def test_form():
    assert o.distinct(["a", "b", "a", "b"], 1) == 0.5
    assert o.distinct(["a"], 2) is None
    assert o.repetition(["a", "b", "c", "d"] * 3) == pytest.approx(1 - 4 / 9)
    assert o.score_pair("ab", "", "en")["length-ratio"] is None


def test_every_number_names_its_tokenisation_and_n():
    out = o.score_more([(ZH[0], ZH[1]), (EN[0], EN[1]), (EN[0], EN[0])])
    assert {(r["lang"], r["n"]) for r in out["summary"] if r["metric"] == "chrf"} == {("en", 2), ("zh", 1)}
    assert all(r["tokenisation"] for r in out["summary"])


def test_unrelated_english_replies_score_low_by_words():
    unrelated = o.score_pair(
        "The weather was nice on Tuesday afternoon.", "Have you told anyone about these worries?", "en"
    )
    assert unrelated["bleu-word"] < 10


@pytest.mark.parametrize(
    ("text", "lang"),
    [("你好", "zh"), ("Hello there", "en"), ("I am Jerry 和心者", "en"), ("我是Jerry", "zh"), ("……", "zh"), ("", "zh")],
)
def test_language(text, lang):
    assert language(text) == lang
