"""Overlap and form, right for each language: word BLEU, chrF, length ratio, distinct-n, repetition. Every number names its tokenisation.

Chinese words are jieba's, English words sacrebleu's `13a`. BLEU and chrF are sacrebleu's formulas on these tokens (exponential smoothing and
effective order per pair; corpus values without), counted here once per pair and summed, since sacrebleu's own per-sentence calls take ten times as long;
a test holds them equal to sacrebleu.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from .language import language
from .overlap import jieba_cut

BLEU, CHRF = "bleu-word", "chrf"
METRICS = (BLEU, CHRF, "length-ratio", "distinct-1", "distinct-2", "repetition")
_CHRF_ORDER, _CHRF_BETA = 6, 2  # chrF2, Popović 2015
Stats = tuple[int, ...]


def tokenisation(lang: str) -> dict[str, str]:
    """How each metric cuts text of a language (`zh` or `en`)."""
    words = "jieba words, blanks dropped" if lang == "zh" else "13a words"
    return {
        BLEU: f"sacrebleu BLEU-4, tok:{'jieba' if lang == 'zh' else '13a'}, smooth:exp, {words}",
        CHRF: "sacrebleu chrF2, character 1- to 6-grams, blanks dropped",
        "length-ratio": "characters of the reply / of the reference",
        "distinct-1": f"distinct / all, {words}, within a reply",
        "distinct-2": f"distinct / all pairs, {words}, within a reply",
        "repetition": f"share of {words} 4-grams that occurred before in the reply",
    }


@lru_cache(maxsize=1)
def _13a() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


@lru_cache(maxsize=20_000)
def words(text: str, lang: str) -> tuple[str, ...]:
    """Words of a text: jieba's for `zh` (blanks dropped), sacrebleu's 13a for `en`."""
    if lang == "zh":
        return tuple(w for w in jieba_cut()(text) if w.strip())
    return tuple(_13a()(text).split())


def bleu_stats(predict: Sequence[str], label: Sequence[str]) -> Stats:
    """(predicted length, reference length, 4 match counts, 4 totals)."""
    matches, totals = [], []
    for n in (1, 2, 3, 4):
        got = Counter(zip(*(predict[i:] for i in range(n)), strict=False))
        have = Counter(zip(*(label[i:] for i in range(n)), strict=False))
        matches.append(sum(min(k, have[g]) for g, k in got.items() if g in have))
        totals.append(max(0, len(predict) - n + 1))
    return (len(predict), len(label), *matches, *totals)


def bleu(stats: Stats, *, effective_order: bool) -> float:
    """sacrebleu's BLEU in percent from summed statistics (smoothing `exp`)."""
    predicted, expected, *counts = stats
    matches, totals = counts[:4], counts[4:]
    if not any(matches):
        return 0.0
    smooth, logs = 1.0, []
    for match, total in zip(matches, totals, strict=True):
        if total == 0:
            break
        if match == 0:
            smooth *= 2
            logs.append(math.log(100.0 / (smooth * total)))
        else:
            logs.append(math.log(100.0 * match / total))
    if len(logs) < 4 and not effective_order:
        return 0.0
    brevity = 1.0 if predicted >= expected else math.exp(1 - expected / predicted)
    return brevity * math.exp(sum(logs) / len(logs))


def chrf_stats(predict: str, label: str) -> Stats:
    """For each order 1..6: (predicted, expected, matching) character n-grams, blanks dropped."""
    p, r = "".join(predict.split()), "".join(label.split())
    out: list[int] = []
    for n in range(1, _CHRF_ORDER + 1):
        got = Counter([p[i : i + n] for i in range(len(p) - n + 1)])
        have = Counter([r[i : i + n] for i in range(len(r) - n + 1)])
        match = sum([min(k, have[g]) for g, k in got.items() if g in have])
        # sacrebleu counts an order of the prediction only if the reference has it
        out += [max(0, len(p) - n + 1) if have else 0, max(0, len(r) - n + 1), match]
    return tuple(out)


def chrf(stats: Stats) -> float:
    """chrF2 in percent from summed statistics (sacrebleu's default, averaging precision and recall over effective orders)."""
    precision = recall = 0.0
    orders = 0
    for n in range(_CHRF_ORDER):
        got, have, match = stats[3 * n : 3 * n + 3]
        if got and have:
            precision, recall, orders = precision + match / got, recall + match / have, orders + 1
    if not orders:
        return 0.0
    precision, recall = precision / orders, recall / orders
    if precision + recall == 0:
        return 0.0
    factor = _CHRF_BETA**2
    return 100 * (1 + factor) * precision * recall / (factor * precision + recall)


def distinct(tokens: Sequence[str], n: int) -> float | None:
    """Distinct n-grams / n-grams of one reply (Li et al. 2016); None if it has none. Long replies score lower by nature."""
    grams: list[Any] = list(tokens) if n == 1 else list(pairwise(tokens))
    return len(set(grams)) / len(grams) if grams else None


def repetition(tokens: Sequence[str]) -> float:
    """Share of 4-grams that occurred before in the same reply: 0 none, towards 1 a loop."""
    grams = list(zip(*(tokens[i:] for i in range(4)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def score_pair(predict: str, label: str, lang: str | None = None) -> dict[str, float | None]:
    """`METRICS` of one pair: BLEU and chrF in percent, the others as ratios; None where a reply is too short to say.

    Args:
        lang: `zh` or `en`; by default that of the reference.
    """
    lang = lang or language(label or predict)
    p, r = words(predict, lang), words(label, lang)
    return {
        BLEU: round(bleu(bleu_stats(p, r), effective_order=True), 4),
        CHRF: round(chrf(chrf_stats(predict, label)), 4),
        "length-ratio": round(len(predict) / len(label), 4) if label else None,
        "distinct-1": _rounded(distinct(p, 1)),
        "distinct-2": _rounded(distinct(p, 2)),
        "repetition": round(repetition(p), 4),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def corpus(pairs: Sequence[tuple[str, str]], lang: str) -> dict[str, float]:
    """Corpus-level word BLEU and chrF of pairs in one language (not the mean of the pairs' values)."""
    if not pairs:
        return {}
    b = [bleu_stats(words(p, lang), words(r, lang)) for p, r in pairs]
    c = [chrf_stats(p, r) for p, r in pairs]
    return {
        f"{BLEU} (corpus)": round(bleu(tuple(map(sum, zip(*b, strict=True))), effective_order=False), 4),
        f"{CHRF} (corpus)": round(chrf(tuple(map(sum, zip(*c, strict=True)))), 4),
    }


def score_more(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Per-pair values and, by language of the reference, means and corpus values with n and tokenisation.

    Returns:
        `{"pairs": [{"lang", metric: value}], "summary": [{"metric", "lang", "n", "value", "tokenisation"}]}`.
    """
    langs = [language(label or predict) for predict, label in pairs]
    rows = [{"lang": lang, **score_pair(p, r, lang)} for (p, r), lang in zip(pairs, langs, strict=True)]
    summary = []
    for lang in sorted(set(langs)):
        names = tokenisation(lang)
        for metric in METRICS:
            known = [float(v) for row in rows if row["lang"] == lang and (v := row[metric]) is not None]
            if known:
                value = round(math.fsum(known) / len(known), 4)
                summary.append(
                    {"metric": metric, "lang": lang, "n": len(known), "value": value, "tokenisation": names[metric]}
                )
        some = [pair for pair, have in zip(pairs, langs, strict=True) if have == lang]
        for metric, value in corpus(some, lang).items():
            summary.append(
                {
                    "metric": metric,
                    "lang": lang,
                    "n": len(some),
                    "value": value,
                    "tokenisation": names[metric.split()[0]],
                }
            )
    return {"pairs": rows, "summary": summary}
