"""Statistics of paired comparisons, clustered by dialogue: turns of one dialogue are not independent.

Bootstrap intervals resample dialogues (percentile method, Efron & Tibshirani 1993); permutation tests flip the sign of a whole
dialogue's differences; p-values of a family are corrected by Holm (1979).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 5000
_CELLS = 2_000_000  # numbers drawn at a time


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval; `n` values in `clusters` dialogues."""

    mean: float
    low: float
    high: float
    n: int
    clusters: int


def _by_cluster(
    values: Sequence[float], clusters: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and count of each cluster."""
    place: dict[Hashable, int] = {}
    index = np.array([place.setdefault(c, len(place)) for c in clusters], dtype=np.int64)
    sums = np.bincount(index, weights=np.asarray(values, dtype=float), minlength=len(place)).astype(float)
    return sums, np.bincount(index, minlength=len(place)).astype(float)


def bootstrap(
    values: Sequence[float], clusters: Sequence[Hashable], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """Mean and 95 % percentile interval, resampling whole clusters; None without values.

    With a single cluster the interval is that point: nothing is known about the spread between dialogues.
    """
    if not len(values):
        return None
    sums, counts = _by_cluster(values, clusters)
    k = len(sums)
    rng = np.random.default_rng(seed)
    means = []
    step = max(1, _CELLS // k)
    for start in range(0, resamples, step):
        drawn = rng.integers(0, k, size=(min(step, resamples - start), k))
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high), len(values), k)


def permutation_p(
    differences: Sequence[float], clusters: Sequence[Hashable], *, seed: int = 0, resamples: int = RESAMPLES
) -> float | None:
    """Two-sided p-value of "the mean difference is 0", flipping the signs of whole clusters.

    Exact when there are at most 12 clusters, else by `resamples` random flips with the usual +1 correction.
    """
    if not len(differences):
        return None
    sums, _ = _by_cluster(differences, clusters)
    k = len(sums)
    seen = abs(sums.sum()) - 1e-12
    if k <= 12:
        signs = 1 - 2 * ((np.arange(2**k)[:, None] >> np.arange(k)) & 1)
        return float((abs(signs @ sums) >= seen).mean())
    rng = np.random.default_rng(seed)
    hits, done, step = 0, 0, max(1, _CELLS // k)
    while done < resamples:
        m = min(step, resamples - done)
        signs = 1 - 2 * rng.integers(0, 2, size=(m, k))
        hits += int((abs(signs @ sums) >= seen).sum())
        done += m
    return (hits + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p-values, in their order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    out, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        out[i] = running
    return out


def cohens_dz(differences: Sequence[float]) -> float | None:
    """Mean difference / standard deviation of the differences; None if there is no spread or fewer than two."""
    d = np.asarray(differences, dtype=float)
    if len(d) < 2 or (spread := float(d.std(ddof=1))) < 1e-12:
        return None
    return float(d.mean()) / spread


def wins(differences: Sequence[float], tolerance: float = 1e-9) -> tuple[int, int, int]:
    """(wins, ties, losses): how many differences are positive, zero, negative."""
    up = sum(d > tolerance for d in differences)
    down = sum(d < -tolerance for d in differences)
    return up, len(differences) - up - down, down
