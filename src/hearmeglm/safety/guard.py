"""The guard: is somebody in danger? Local, deterministic, outside the model; one for chat, API, studio and batch.

    assess(["最近很累", "想睡过去不再醒来"]).crisis            # the whole talk, one call
    session = guard().session(); session.add("…").crisis     # message by message, with memory
    session.to_json() / guard().session(saved)               # an elevated state outlives a restart

Layers: written rules (`lexicon`) with weak signs that add up over the session, a small linear classifier (`classifier`), and the
embedded base with a trained head (`listener`). `HEARME_GUARD_LAYERS` (rules, rules+linear, all) says which the shipped guard uses.
`risk` is any risk content (past, exploratory, others' included), `crisis` means that someone needs help now. A session's answer is
the worst of its turns; what the client says next may explain an alarm that was not imminent (`decision.Alarm`). Whatever goes wrong inside, the answer is a crisis with `closed=True` and the reason: it fails closed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .classifier import Classifier
from .decision import Alarm, Assessment, Found, Trust, closed, decide, mixed, rank
from .lexicon import HIGH, IMMINENT, KINDS, LEVELS, LOW, MODERATE, NONE, Context, Hit, Language
from .listener import Heard, Listener
from .normal import HAS_EN, HAS_ZH, Normaliser
from .reply_heads import ReplyHeads

RULES = Path(__file__).with_name("rules")
SIGNS_CRISIS, SIGNS_RISK = 3.5, 2.0
"""Sum of the weights of distinct weak signs in a session from which the talk as a whole is a crisis, or a risk."""
LAYERS = ("rules", "rules+linear", "all")
"""What a guard may be made of; each holds the ones before it."""
_ACUTE = ("farewell", "giving", "affairs", "means", "place", "time", "calm", "join")
_SUFFERED = ("suicide", "self_harm", "overdose", "eating", "psychosis")
"""Kinds of danger that a person brings on herself: whose it is decides what is asked first."""
_TAIL = 700
WINDOWS, TALK_TOKENS = 4, 112
"""The model-based layer reads so many windows of a long message (some 650 Chinese characters), and so much of the talk's end."""


@dataclass
class Session:
    """Memory of one talk; never shared between users.

    Attributes:
        worst: what stands for the talk. last: the last message's own.
        firm: what nothing said later takes back. alarms: messages that raised one which the words after them may still explain.
    """

    guard: Guard
    worst: Assessment = field(default_factory=Assessment)
    last: Assessment = field(default_factory=Assessment)
    firm: Assessment = field(default_factory=Assessment)
    alarms: list[Alarm] = field(default_factory=list)
    signs: dict[str, float] = field(default_factory=dict)
    contexts: dict[str, Context] = field(default_factory=dict)
    tail: str = ""
    said: str = ""
    turns: int = 0
    benign: bool = False
    before: str = ""

    def add(self, text: str) -> Assessment:
        """Read the next message of the client; returns the session's assessment so far (`last` has the message's own)."""
        try:
            self.last = self.guard.read(text, self)
        except Exception as err:
            self.last = self.firm = closed(f"{type(err).__name__} while reading a message")
        self.worst = max(self.firm, self.last, *(a.stands for a in self.alarms), key=rank)
        return self.worst

    def to_json(self) -> dict[str, Any]:
        """State without the client's words: enough for an elevated state to outlive a restart."""
        return {
            "worst": {**self.worst.to_json(), "because": [], "closed": self.worst.closed},
            "signs": dict(self.signs),
            "turns": self.turns,
        }


@dataclass(frozen=True, slots=True)
class _Read:
    """Log odds by the trained layers: of risk, of crisis (the end of the talk counts too), of crisis of that end alone."""

    risk: float
    crisis: float
    talk: float
    trust: Trust
    heard: Heard | None = None


@dataclass(frozen=True)
class Guard:
    """Compiled rules and weights; `replies` serves `output.check_reply`; `broken` says why it is closed."""

    normalise: Normaliser | None = None
    languages: tuple[Language, ...] = ()
    classifier: Classifier | None = None
    listener: Listener | None = None
    replies: ReplyHeads | None = None
    broken: str = ""

    @classmethod
    def load(cls, folder: Path = RULES, *, layers: str = "all") -> Guard:
        """Read the rules folder. A damaged file gives a closed guard that says which file, never an exception.

        Args:
            layers: one of LAYERS; another word closes the guard as well.
        """
        name = "layers"
        try:
            depth = LAYERS.index(layers)
            name = "normal.yaml"
            normaliser = Normaliser.from_tree(_tree(folder / name))
            languages = []
            for code in ("zh", "en"):
                name = f"{code}.yaml"
                languages.append(Language.from_tree(code, _tree(folder / name)))
            name = "weights.npz"
            classifier = Classifier.load(folder / name) if depth >= 1 else None
            name = "listener.npz"
            listener = Listener.load(folder / name) if depth >= 2 else None
            name = "replies.npz"
            replies = ReplyHeads.load(folder / name, listener) if listener is not None else None
            return cls(normaliser, tuple(languages), classifier, listener, replies)
        except Exception as err:
            return cls(broken=f"{name}: {' '.join(str(err).split())[:160] or type(err).__name__}")

    def session(self, saved: Mapping[str, Any] | None = None) -> Session:
        """A new talk, or one that goes on from `Session.to_json`."""
        session = Session(self)
        if saved:
            worst = saved["worst"]
            session.worst = session.firm = Assessment(
                bool(worst["risk"]),
                bool(worst["crisis"]),
                str(worst["kind"]),
                str(worst["level"]),
                ("earlier in this session",),
                bool(worst["closed"]),
            )
            session.signs, session.turns = dict(saved["signs"]), int(saved["turns"])
        return session

    def assess(self, turns: Sequence[str]) -> Assessment:
        """The whole talk: the client's messages in order.

        A talk without messages is no risk.
        """
        session = self.session()
        for turn in turns:
            session.add(turn)
        return session.worst

    def prepare(self, talks: Iterable[Sequence[str]]) -> None:
        """Let the model-based layer read the messages of many talks at once; `assess` then finds them read. Changes no result."""
        if self.listener is not None:
            messages: list[str] = []
            ends: list[str] = []
            for turns in talks:
                said = ""
                for turn in turns:
                    said = _longer(said, turn)
                    messages.append(turn)
                    ends += [] if said == turn else [said]
            try:
                self.listener.hear(messages, WINDOWS)
                self.listener.hear(ends, size=TALK_TOKENS)
            except Exception:
                return  # `assess` meets the same error, and fails closed

    def read(self, text: str, session: Session) -> Assessment:
        """One message within its session (`Session.add` calls this and fails closed)."""
        if self.broken or self.normalise is None:
            return closed(self.broken or "not loaded")
        masked, hits, signs = self.findings(text, session)
        session.turns, session.before = session.turns + 1, masked[-160:]
        session.signs.update(signs)
        session.tail = f"{session.tail}\n{masked}"[-_TAIL:] if session.tail else masked[-_TAIL:]
        session.said = _longer(session.said, text)
        level, kind, because = _strongest(hits)
        over, signs_because = self._talk(session)
        found, read = Found.of(hits), None
        if over > max(level, LOW):
            level, found, because = over, Found(over, framed=False, bare=False), [*signs_because, *because]
        if self.classifier is not None:
            read = self._read(text, masked, session, self.classifier)
            before, level = level, decide(found, read.risk, read.crisis, read.trust)
            if level > before:
                head = int(level >= MODERATE)
                kind = kind or (read.heard.kind if read.heard else "")
                by = "classifier" if read.heard is None else f"model ({read.heard.kind})"
                words = "、".join(self.classifier.explain(masked, head))
                because = [*because, f"{by} {1 / (1 + math.exp(-(read.risk, read.crisis)[head])):.2f}: {words}"]
        if over and not level:
            level, because = LOW, because or signs_because
        kind = kind or _kind_of(session.signs)
        top = max((h.level for h in hits), default=NONE)
        other = kind in _SUFFERED and top > NONE and all(h.other for h in hits if h.level == top)
        own = Assessment()
        if level:
            own = Assessment(True, level >= MODERATE, kind, LEVELS[level], tuple(because[:5]), other=other)
        self._remember(session, text, own, found, read)
        return own

    def _remember(self, session: Session, text: str, own: Assessment, found: Found, read: _Read | None) -> None:
        """What of the talk's findings later words may explain, and what stands for good.

        Only an alarm whose words the model still reads at the end of the talk may go.
        """
        before, session.alarms = session.alarms, []
        heard = read is not None and read.heard is not None
        for alarm in before:
            seen = heard and self.listener is not None and self.listener.within(f"{alarm.since}\n{text}", TALK_TOKENS)
            if read is not None and seen:
                session.alarms.append(alarm.reconsidered(text, read.talk, read.trust))
            else:
                session.firm = max(session.firm, alarm.stands, key=rank)
        if read is not None and heard and own.crisis:
            session.alarms.append(Alarm(own, own, found, read.risk, read.crisis, text))
        else:
            session.firm = max(session.firm, own, key=rank)

    def _read(self, text: str, masked: str, session: Session, classifier: Classifier) -> _Read:
        """What the trained layers say of a message, and of the talk.

        Both read the message alone and at the end of its talk, where a reason given earlier counts too: the mean of the log odds decides.
        """
        odds = [classifier.score(masked)]
        if session.turns > 1:
            odds.append(classifier.score(session.tail))
        mix, trust, worst = classifier.mix, classifier.trust, None
        heard = self.listener.hear([text], WINDOWS) if self.listener is not None else None
        if heard is not None and self.listener is not None:
            mix, trust = self.listener.mix, self.listener.trust
            if len(odds) > 1:
                heard += self.listener.hear([session.said], size=TALK_TOKENS) or []
            odds = [[*h.odds, *z] for h, z in zip(heard, odds, strict=True)]
            worst = max(heard, key=lambda h: h.odds[1])
        both = [mixed(mix, z) for z in odds]
        crisis = [z for _, z in both]
        return _Read(both[0][0], sum(crisis) / len(crisis), crisis[-1], trust, worst)

    def findings(self, text: str, session: Session) -> tuple[str, list[Hit], dict[str, float]]:
        """Masked text, rule hits and weak signs of one message; updates the session's frames."""
        assert self.normalise is not None
        plain = self.normalise(text)
        spoken = [lang for lang in self.languages if (HAS_ZH if lang.code == "zh" else HAS_EN).search(plain)]
        masked = plain
        hits: list[Hit] = []
        signs: dict[str, float] = {}
        for lang in spoken:
            masked, session.contexts[lang.code] = lang.look(plain, masked, session.contexts.get(lang.code))
        for lang in spoken:
            context = session.contexts[lang.code]
            may = lang.danger.scan(masked)
            hits += lang.hits(masked, context, may)
            if session.before:  # words that only together say it: the end of the turn before and this turn
                seam = f"{session.before}，{masked[:160]}"
                hits += lang.hits(seam, context, lang.danger.scan(seam), len(session.before))
            if not (context.fiction or context.study):
                signs.update(lang.found_signs(masked, may))
            session.benign = session.benign or context.benign
        return masked, hits, signs

    def _talk(self, session: Session) -> tuple[int, list[str]]:
        """The level of the session's weak signs together; everyday reasons (a move, a graduation) count against it."""
        found = session.signs
        acute = [s for s in _ACUTE if s in found]
        home = ("hurt" in found or "secret" in found) and "abuser" in found
        total = (
            sum(found.values())
            - (3.0 if session.benign else 0.0)
            - (
                0.0
                if len(acute) >= 2 or (set(acute) - {"calm"} and {"hopeless", "burden", "dark"} & found.keys())
                else 1.6
            )
        )
        if home:
            total = max(total, SIGNS_RISK)
        over = HIGH if total >= SIGNS_CRISIS else LOW if total >= SIGNS_RISK else NONE
        return over, [f"signs over the talk: {', '.join(sorted(found, key=lambda s: -found[s]))}"]


def _strongest(hits: Sequence[Hit]) -> tuple[int, str, list[str]]:
    real = sorted((h for h in hits if h.level > NONE), key=lambda h: (-h.level, KINDS.index(h.kind)))
    because = [
        f"{h.rule}: {' '.join(h.text.split())[:60]}" + (f" ({', '.join(h.frames)})" if h.frames else "") for h in real
    ]
    return (real[0].level, real[0].kind, because) if real else (NONE, "", [])


def _kind_of(signs: Mapping[str, float]) -> str:
    return "abuse" if "abuser" in signs and not ({"farewell", "giving", "affairs"} & signs.keys()) else "suicide"


def _longer(said: str, text: str) -> str:
    """The end of the talk as the model-based layer reads it: a line a message."""
    return f"{said}\n{text}"[-_TAIL:] if said else text


def _tree(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def guard() -> Guard:
    """The shipped guard, loaded once, with the layers that `HEARME_GUARD_LAYERS` names (all if it is not set)."""
    return Guard.load(layers=os.environ.get("HEARME_GUARD_LAYERS") or LAYERS[-1])


def assess(turns: Sequence[str]) -> Assessment:
    """The shipped guard on a whole talk (the client's messages in order)."""
    return guard().assess(turns)


__all__ = ["IMMINENT", "LAYERS", "Assessment", "Guard", "Session", "assess", "closed", "guard"]
