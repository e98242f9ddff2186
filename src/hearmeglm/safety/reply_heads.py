"""The trained part of the check on replies: linear heads on what the guard's model-based layer reads in a reply's sentences.

    problems = ReplyHeads.load(path).find("…", listener)      # [(reason, the sentences it was heard in)], or none

The patterns of `rules/output.yaml` know what was thought of; the heads know what a wrong reply sounds like ("the river is very still at
night"). Softmax over "may be shown" and REASONS, of each sentence together with the one before it; the worst of them counts.
`scripts/train_replies.py` makes `rules/replies.npz` for one `rules/listener.npz`, whose features it reads.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .listener import Floats, Listener

REASONS = ("method", "validation", "diagnosis", "prescription", "human", "licence", "companion", "abandon")
WINDOWS = 2
"""Of sentences longer than the layer reads at once, so many windows are read."""
REMEMBERED = 4096
"""Answers kept, by a digest of the sentences: a reply is checked again with each sentence that it grows by."""
_SENTENCE = re.compile(r"(?<=[。！？!?；\n])(?![”’」』\"'。！？!?])|(?<=[.…])(?=\s)|(?<=[.!?][\"'”])(?=\s)")


def pairs(text: str) -> list[str]:
    """Each sentence with the one before it; a text of one sentence is itself."""
    spans, start = [], 0
    for part in _SENTENCE.split(text):
        end = start + len(part)
        spans += [(start, end)] if part.strip() else []
        start = end
    if len(spans) < 2:
        return [text.strip()]
    return [text[start:end].strip() for (start, _), (_, end) in pairwise(spans)]


def fingerprint(listener: Listener) -> str:
    """Of what the features depend on."""
    digest = hashlib.sha256(repr((listener.layers, listener.both_ways)).encode())
    for name in sorted(listener.updates):
        for factor in listener.updates[name]:
            digest.update(factor.tobytes())
    digest.update(listener.mean.tobytes() + listener.scale.tobytes())
    return digest.hexdigest()[:16]


@dataclass
class ReplyHeads:
    """Weights.

    Attributes:
        weights: (1 + reasons, d) logits of "may be shown" and of REASONS from standardised features. bias: (1 + reasons,).
        least: log odds against "may be shown" from which a reply is refused.
    """

    weights: Floats
    bias: Floats
    least: float
    _known: OrderedDict[bytes, Floats] = field(default_factory=OrderedDict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def load(cls, path: Path, listener: Listener) -> ReplyHeads:
        """Read the shipped file.

        Raises:
            OSError, ValueError, KeyError, TypeError: missing, damaged, or made for other updates of the base.
        """
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            heads = cls(file["weights"].astype(np.float32), file["bias"].astype(np.float32), float(file["least"]))
            made_for = str(file["listener"])
        if heads.weights.shape != (1 + len(REASONS), len(listener.mean)) or heads.bias.shape != (1 + len(REASONS),):
            raise ValueError(f"heads of shape {heads.weights.shape}, expected {(1 + len(REASONS), len(listener.mean))}")
        if not (np.isfinite(heads.weights).all() and np.isfinite(heads.bias).all() and np.isfinite(heads.least)):
            raise ValueError("heads are not finite")
        if made_for != fingerprint(listener):
            raise ValueError("made for another listener.npz; run scripts/train_replies.py")
        return heads

    def find(self, text: str, listener: Listener, skip: Collection[str] = ()) -> list[tuple[str, str]]:
        """What is wrong with a reply: (reason, sentences), at most one a reason; none where the base cannot be loaded.

        Args:
            skip: reasons that are allowed here.
        """
        said = pairs(text)
        with self._lock:
            read = self._read(said, listener)
        wrong: dict[str, str] = {}
        asked = [n for n, reason in enumerate(REASONS, 1) if reason not in skip]
        for part, rows in zip(said, read, strict=False):
            for row in rows:
                if asked and odds(row[asked], row[0]) >= self.least:
                    wrong.setdefault(REASONS[asked[int(row[asked].argmax())] - 1], part)
        return list(wrong.items())

    def _read(self, said: list[str], listener: Listener) -> list[Floats]:
        """Logits of the windows of each part; empty where the base cannot be loaded."""
        keys = [hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest() for part in said]
        new = {key: part for key, part in zip(keys, said, strict=True) if key not in self._known}
        read = listener.read(list(new.values()), WINDOWS)
        if read is None:
            return []
        found = {key: self._known[key] for key in keys if key not in new}
        found |= {key: of @ self.weights.T + self.bias for key, of in zip(new, read, strict=True)}
        self._known.update(found)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return [found[key] for key in keys]


def odds(bad: Any, shown: Any) -> Any:
    """Log odds of any of the reasons (..., reasons) against "may be shown" (...)."""
    top = bad.max(-1)
    return top + np.log(np.exp(bad - top[..., None]).sum(-1)) - shown
