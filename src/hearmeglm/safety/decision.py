"""How the rules' findings and the log odds of the trained layers become one level, and what later words change about it.

One logistic model, fitted on texts on which no rule was mended, says how far a finding is believed: what it adds to the log odds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .lexicon import IMMINENT, LEVELS, LOW, MODERATE, NONE, Hit

HEADS = ("risk", "crisis", "post")
"""What a trained layer says of a text, as log odds: that it tells of any risk; of a crisis; of a risk in the eyes of PsySUICIDE's annotators."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the guard found.

    Attributes:
        risk: any risk content. crisis: someone needs help now.
        kind: one of `lexicon.KINDS`, "none", or "unknown" when the guard failed.
        level: none, low, moderate, high or imminent; moderate and above is a crisis.
        because: findings in words, the weightiest first.
        closed: the guard could not work and answers "crisis" to be safe.
        other: as far as the rules can tell it is somebody else's danger, whom the client speaks of.
    """

    risk: bool = False
    crisis: bool = False
    kind: str = "none"
    level: str = "none"
    because: tuple[str, ...] = ()
    closed: bool = False
    other: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "risk": self.risk,
            "crisis": self.crisis,
            "kind": self.kind,
            "level": self.level,
            "because": list(self.because),
        }


def closed(reason: str) -> Assessment:
    """The answer of a guard that cannot work."""
    return Assessment(True, True, "unknown", "high", (f"guard unavailable, treated as a crisis: {reason}",), True)


@dataclass(frozen=True, slots=True)
class Found:
    """What of the rules' hits matters for the decision.

    Attributes:
        level: of the strongest hit after frames. framed: there are hits, and a frame (negated, past, fiction …) explains each.
        bare: nothing but bare words of death.
    """

    level: int
    framed: bool
    bare: bool

    @classmethod
    def of(cls, hits: Sequence[Hit]) -> Found:
        """Sum up the hits of a message."""
        return cls(
            max((h.level for h in hits), default=NONE),
            bool(hits) and all(h.frames for h in hits),
            any(h.level for h in hits) and all(h.rule.endswith(".word") for h in hits if h.level),
        )

    def features(self) -> tuple[bool, ...]:
        """Which of the levels low to imminent; framed; bare."""
        return (*(self.level == level for level in range(LOW, IMMINENT + 1)), self.framed, self.bare)


@dataclass(frozen=True, slots=True)
class Trust:
    """How far the rules' findings are believed beside the trained layers.

    Attributes:
        risk, crisis: log odds that each of `Found.features` adds, and last what is added to every message; above 0 the answer is yes.
    """

    risk: tuple[float, ...]
    crisis: tuple[float, ...]

    @classmethod
    def of(cls, rows: Any) -> Trust:
        """From (2, 7) numbers.

        Raises:
            ValueError, TypeError: another shape, or not finite.
        """
        risk, crisis = (tuple(map(float, row)) for row in rows)
        features = len(Found(NONE, framed=False, bare=False).features())
        if not all(len(row) == features + 1 and all(map(math.isfinite, row)) for row in (risk, crisis)):
            raise ValueError(f"expected 2 rows of {features + 1} finite numbers")
        return cls(risk, crisis)


def mixed(mix: Any, odds: Sequence[float]) -> tuple[float, float]:
    """Log odds (risk, crisis): mix (2, n) times the n log odds of the layers' heads."""
    risk, crisis = (sum(float(w) * z for w, z in zip(row, odds, strict=True)) for row in mix)
    return risk, crisis


def decide(found: Found, risk: float, crisis: float, trust: Trust) -> int:
    """The level of a message whose log odds by the trained layers are `risk` and `crisis`.

    Raises:
        ValueError: they are no finite numbers (the session fails closed).
    """
    if not (math.isfinite(risk) and math.isfinite(crisis)):
        raise ValueError("log odds are not finite")
    if crisis + _added(found, trust.crisis) >= 0:
        return max(found.level, MODERATE)
    return LOW if risk + _added(found, trust.risk) >= 0 else NONE


def _added(found: Found, weights: Sequence[float]) -> float:
    return weights[-1] + sum(w for w, is_so in zip(weights, found.features(), strict=False) if is_so)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A message that raised an alarm, which what the client says after it may still explain.

    Attributes:
        raised: as it was read when it came. stands: as it is read now.
        found, risk, crisis: what spoke for it. since: the client's words from that message on.
    """

    raised: Assessment
    stands: Assessment
    found: Found
    risk: float
    crisis: float
    since: str

    def reconsidered(self, text: str, talk: float, trust: Trust) -> Alarm:
        """With the next message, after which the end of the talk, these words within it, has the log odds `talk` of a crisis.

        They weigh as much as the message's own.
        """
        level = decide(self.found, self.risk, (self.crisis + talk) / 2, trust)
        stands = replace(self.raised, risk=True, crisis=level >= MODERATE, level=LEVELS[level])
        return replace(self, stands=stands if level > NONE else Assessment(), since=f"{self.since}\n{text}")


def rank(a: Assessment) -> tuple[int, int]:
    """Orders assessments from harmless to grave."""
    return LEVELS.index(a.level), int(a.closed)
