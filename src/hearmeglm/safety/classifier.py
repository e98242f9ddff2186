"""The always-on trained layer of the guard: logistic heads (`decision.HEADS`) over hashed character n-grams.

`scripts/train_guard.py` makes `rules/weights.npz`; inference is numpy only. The log odds are
b + Σ w[n-gram] / sqrt(number of n-grams). An n-gram is a run of 1, 2, 3, 4 or 6 code points of the masked text.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .decision import HEADS, Trust

SIZES = (1, 2, 3, 4, 6)
BUCKETS = 1 << 17
CHUNK = 220
"""Longer texts are scored in windows of this many characters, and the worst window counts: a long message dilutes nothing."""

Ints = npt.NDArray[np.int64]


def grams(text: str) -> tuple[Ints, Ints, Ints]:
    """Buckets of the text's n-grams with where each begins and how long it is (repeats kept).

    The hash is a polynomial over code points modulo 2^61, folded to the table's size; it is the same on every machine.
    """
    codes = np.frombuffer(f" {text} ".encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    buckets, starts, sizes = [], [], []
    for n in SIZES:
        if len(codes) < n:
            break
        count = len(codes) - n + 1
        h = np.full(count, n * 0x9E3779B97F4A7C15 % (1 << 64), dtype=np.uint64)
        for i in range(n):
            h = (h ^ codes[i : i + count]) * np.uint64(0x100000001B3)
            h ^= h >> np.uint64(29)
        buckets.append((h >> np.uint64(17)).astype(np.int64) % BUCKETS)
        starts.append(np.arange(count))
        sizes.append(np.full(count, n))
    return np.concatenate(buckets), np.concatenate(starts), np.concatenate(sizes)


def gram_set(text: str) -> Ints:
    """Distinct buckets of a text."""
    return np.unique(grams(text)[0])


def windows(text: str) -> list[str]:
    """Overlapping windows of at most CHUNK characters."""
    if len(text) <= CHUNK:
        return [text]
    step = CHUNK * 2 // 3
    return [text[i : i + CHUNK] for i in range(0, len(text) - CHUNK // 3, step)]


@dataclass(frozen=True)
class Classifier:
    """Weights.

    Attributes:
        weights: (3, BUCKETS) float32, a row a head. bias: (3,).
        mix: (2, 3), log odds of risk and crisis from the heads'. trust: in the rules beside them.
    """

    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    mix: npt.NDArray[np.float32]
    trust: Trust

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Read the shipped file (int8 weights with one scale a head).

        Raises:
            OSError, ValueError, KeyError: missing or damaged.
        """
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            weights = file["weights"].astype(np.float32) * file["scale"][:, None]
            model = cls(weights, file["bias"], file["mix"], Trust.of(file["trust"]))
        if model.weights.shape != (len(HEADS), BUCKETS) or model.mix.shape != (2, len(HEADS)):
            raise ValueError(f"weights of shape {model.weights.shape}, expected {(len(HEADS), BUCKETS)}")
        if not all(np.isfinite(a).all() for a in (model.weights, model.bias, model.mix)):
            raise ValueError("weights are not finite")
        return model

    def score(self, text: str) -> list[float]:
        """Log odds by HEADS of a masked text."""
        parts = [self.weights[:, g].sum(axis=1) / np.sqrt(len(g)) for g in map(gram_set, windows(text))]
        odds: list[float] = (np.max(parts, axis=0) + self.bias).tolist()
        return odds

    def explain(self, text: str, head: int, top: int = 3) -> list[str]:
        """The runs of text that weigh most for a head (0 risk, 1 crisis)."""
        buckets, starts, sizes = grams(text)
        padded = f" {text} "
        out: list[str] = []
        for i in np.argsort(-self.weights[head, buckets], kind="stable"):
            piece = padded[starts[i] : starts[i] + sizes[i]].strip()
            if len(piece) > 1 and not any(piece in o or o in piece for o in out):
                out.append(piece)
            if len(out) == top:
                break
        return out
