"""How the rules' findings and the probabilities of the trained layers become one level.

A rule's level says how far its word is believed: the surer the rule, the less the trained layers have to agree, and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .lexicon import HIGH, LOW, MODERATE, NONE, Hit


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities from which the trained layers are believed.

    Attributes:
        risk, crisis: alone, without any rule.
        weak_risk: of risk, below which a low rule hit is dropped.
        weak_crisis: of crisis, below which a moderate rule hit is no crisis.
        seconded: of crisis, from which a low rule hit that no frame explains is one.
        word: like weak_risk for a bare word of death.
        framed: of crisis, from which it is one although a frame (negated, past, fiction …) explains every hit.
        strong: of crisis, below which a high rule hit is no crisis. An imminent one is always believed.
    """

    risk: float
    crisis: float
    weak_risk: float
    weak_crisis: float
    seconded: float = 0.6
    word: float = 0.4
    strong: float = 0.0
    framed: float = 1.01


@dataclass(frozen=True, slots=True)
class Found:
    """What of the rules' hits matters for the decision.

    Attributes:
        level: of the strongest hit after frames. framed: there are hits, and a frame (negated, past, fiction …) explains each.
        unframed_low: there is a low hit that no frame explains. bare: nothing but bare words of death.
    """

    level: int
    framed: bool
    unframed_low: bool
    bare: bool

    @classmethod
    def of(cls, hits: Sequence[Hit]) -> Found:
        """Sum up the hits of a message."""
        return cls(
            max((h.level for h in hits), default=NONE),
            bool(hits) and all(h.frames for h in hits),
            any(h.level == LOW and not h.frames for h in hits),
            all(h.rule.endswith(".word") for h in hits if h.level),
        )


def decide(found: Found, p_risk: float, p_crisis: float, t: Thresholds) -> int:
    """The level of a message."""
    level = found.level
    alone = p_crisis >= (t.framed if found.framed else t.crisis)
    if level == LOW and found.unframed_low and p_crisis >= t.seconded:
        level = MODERATE
    if (level == MODERATE and p_crisis < t.weak_crisis) or (level == HIGH and p_crisis < t.strong):
        level = LOW
    if level == LOW and p_risk < (t.word if found.bare else t.weak_risk) and not alone:
        level = NONE
    if alone:
        return max(level, MODERATE)
    return max(level, LOW) if p_risk >= t.risk else level
