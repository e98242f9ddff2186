"""Do judges agree: with each other, with themselves, with people, and do they only count characters?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from .rubric import ranges
from .scoring import Verdict


def weighted_kappa(a: Sequence[float], b: Sequence[float], levels: Sequence[float]) -> float | None:
    """Cohen's kappa with quadratic weights (Cohen 1968); None without pairs or without any expected disagreement."""
    import numpy as np

    if not a:
        return None
    place = {v: i for i, v in enumerate(levels)}
    k = len(levels)
    seen = np.zeros((k, k))
    for x, y in zip(a, b, strict=True):
        seen[place[x], place[y]] += 1
    seen /= seen.sum()
    expected = np.outer(seen.sum(1), seen.sum(0))
    weights = np.subtract.outer(np.arange(k), np.arange(k)) ** 2
    disagreement = float((weights * expected).sum())
    return 1 - float((weights * seen).sum()) / disagreement if disagreement else None


def alpha(ratings: Sequence[Sequence[float | None]], level: str = "ordinal") -> float | None:
    """Krippendorff's alpha of raters × units with gaps; None if nobody disagrees because nothing varies, or nothing pairs."""
    import krippendorff
    import numpy as np

    data = np.array([[np.nan if v is None else v for v in row] for row in ratings], dtype=float)
    if data.size == 0 or len(ratings) < 2:
        return None
    paired = (~np.isnan(data)).sum(0) >= 2
    values = data[:, paired]
    if values.size == 0 or len(np.unique(values[~np.isnan(values)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=values, level_of_measurement=level))


def agreement(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Per criterion: alpha and pairwise kappas between judges, self-consistency over samples, correlation with reply length."""
    return {criterion: _one(criterion, verdicts) for criterion in ranges()}


def _one(criterion: str, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    by_judge: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    lengths: dict[tuple[str, str], int] = {}
    for v in verdicts:
        lengths[v.id, v.model] = v.length
        if v.scores is not None:
            by_judge[v.judge][v.id, v.model].append(v.scores[criterion])
    units = sorted(lengths)
    judges = sorted(by_judge)
    first = {j: [by_judge[j][u][0] if by_judge[j].get(u) else None for u in units] for j in judges}
    levels = sorted({v for row in first.values() for v in row if v is not None})
    kappas = {}
    for a, b in combinations(judges, 2):
        both = [(x, y) for x, y in zip(first[a], first[b], strict=True) if x is not None and y is not None]
        kappas[f"{a} ~ {b}"] = weighted_kappa([x for x, _ in both], [y for _, y in both], levels)
    out: dict[str, Any] = {
        "judges": judges,
        "units": len(units),
        "alpha": alpha([first[j] for j in judges]),
        "kappa": kappas,
    }
    out["self_consistency"] = {j: _consistency(by_judge[j].values()) for j in judges}
    out["length_correlation"] = {
        j: spearman(
            [lengths[u] for u in units if by_judge[j].get(u)],
            [sum(by_judge[j][u]) / len(by_judge[j][u]) for u in units if by_judge[j].get(u)],
        )
        for j in judges
    }
    return out


def _consistency(cells: Any) -> dict[str, float | int] | None:
    """Share of pairs of samples of the same item that are equal."""
    same = pairs = 0
    for values in cells:
        for a, b in combinations(values, 2):
            pairs += 1
            same += a == b
    return {"pairs": pairs, "equal": round(same / pairs, 4)} if pairs else None


def spearman(x: Sequence[float], y: Sequence[float]) -> dict[str, float] | None:
    """Rank correlation with its p-value; None with fewer than three points or a constant side."""
    from scipy.stats import spearmanr

    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    found = spearmanr(x, y)
    return {"rho": float(found.statistic), "p": float(found.pvalue), "n": float(len(x))}
