"""The written rules: which words, in which frame, mean which danger. Data in `rules/zh.yaml` and `rules/en.yaml`.

A rule's hit keeps its level unless a frame lowers it: a negated hit counts for nothing; fiction, study, the past with safety now,
and (for suicide and self-harm) another person make it `low` or one step lower. Signs are weak on their own and add up over a session.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from .prefilter import Scanner

LEVELS = ("none", "low", "moderate", "high", "imminent")
NONE, LOW, MODERATE, HIGH, IMMINENT = range(5)
KINDS = (
    "suicide",
    "self_harm",
    "violence",
    "abuse",
    "minor",
    "medical",
    "overdose",
    "psychosis",
    "eating",
    "perinatal",
)
NEAR = 60
SUBJECT_TURNS = 3
"""A film, a game or a study explains what is said in the turn that names it and the next two, not in all of the talk."""
_OF_TURN = ("fiction", "study", "resource", "past", "safe")
_SELF = {"suicide", "self_harm", "eating", "psychosis"}
_BREAK = re.compile(r"[。！？!?\n;；]+|\.(?=\s|$)")
_CLAUSE = re.compile(r"[，,、：:\s（）()]")
_CLAUSE_EN = re.compile(r"[,:()]|\b(?:and|but|so|because|cos|since)\b")


@dataclass(frozen=True, slots=True)
class Hit:
    """One rule that matched: its level after the frames, and the words; `other`: its clause speaks of somebody else."""

    rule: str
    kind: str
    level: int
    text: str
    frames: tuple[str, ...] = ()
    other: bool = False


@dataclass(frozen=True)
class Rule:
    """One row of `rules`; every pattern of `near` must also be found within NEAR characters of a match."""

    id: str
    kind: str
    level: int
    keep: frozenset[str]
    near: tuple[re.Pattern[str], ...] = ()


@dataclass(frozen=True)
class Context:
    """What the turn and the talk say about how to read a hit.

    Attributes:
        fiction, study: for how many turns yet, this one included, the talk is about them; 0 if it is not.
    """

    text: str
    fiction: int
    study: int
    resource: bool
    past: bool
    safe: bool
    benign: bool


@dataclass(frozen=True)
class Language:
    """All rules of one language.

    Attributes:
        spoken: finds masks, frames of a turn and everyday reasons ("benign") in the plain text.
        danger: finds rules (by `id`) and signs (by name) in the masked text.
        frames: by name, to be sought near a hit. signs: weight by name.
    """

    code: str
    spoken: Scanner
    danger: Scanner
    frames: Mapping[str, re.Pattern[str]]
    rules: tuple[Rule, ...]
    signs: Mapping[str, float]

    @classmethod
    def from_tree(cls, code: str, tree: Mapping[str, Any]) -> Language:
        """Compile one rules file; raises KeyError, TypeError, ValueError or re.error on a damaged one."""
        names = tree["vars"]

        def joined(patterns: list[str]) -> str:
            if not patterns:
                raise ValueError("a rule without patterns")
            return "|".join(re.sub(r"<([A-Z]+)>", lambda m: names[m[1]], p) for p in patterns)

        rules = tuple(
            Rule(
                r["id"],
                str(r["kind"]),
                LEVELS.index(r["level"]),
                frozenset(r.get("keep", ())),
                tuple(re.compile(joined([p])) for p in r.get("near", ())),
            )
            for r in tree["rules"]
        )
        if len({r.id for r in rules} | tree["signs"].keys()) < len(rules) + len(tree["signs"]):
            raise ValueError("two rules or signs of one name")
        if unknown := {r.kind for r in rules} - set(KINDS):
            raise ValueError(f"unknown kinds {sorted(unknown)}")
        if missing := set(KINDS) - {r.kind for r in rules}:
            raise ValueError(f"no rule for {sorted(missing)}")
        frames = {name: re.compile(p) for name, p in tree["frames"].items()}
        if (
            missing := {"fiction", "study", "resource", "past", "safe", "present", "other", "negated", "joke"}
            - frames.keys()
        ):
            raise ValueError(f"no frame {sorted(missing)}")
        danger = {r["id"]: joined(r["any"]) for r in tree["rules"]} | {
            name: joined(s["any"]) for name, s in tree["signs"].items()
        }
        spoken = {"mask": joined(tree["mask"]), "benign": tree["benign"]} | {n: tree["frames"][n] for n in _OF_TURN}
        signs = {name: float(s["weight"]) for name, s in tree["signs"].items()}
        language = cls(code, Scanner(spoken), Scanner(danger), frames, rules, signs)
        if language.danger.scan(""):
            raise ValueError(f"these match nothing at all: {sorted(language.danger.scan(''))}")
        return language

    def look(self, text: str, masked: str, before: Context | None = None) -> tuple[str, Context]:
        """(`masked` with harmless uses of danger words blanked too, frames of this turn).

        Args:
            text: the plain turn. masked: the same as the languages before left it; each blank is one `□`, so word order stays.
            before: of the turn before; fiction and study carry over for SUBJECT_TURNS.
        """
        may = self.spoken.scan(text)
        has = {name: any(p.search(text) for p in may.get(name, ())) for name in (*_OF_TURN, "benign")}
        for pattern in may.get("mask", ()):
            masked = pattern.sub("□", masked)
        return masked, Context(
            text,
            SUBJECT_TURNS if has["fiction"] else max(0, before.fiction - 1) if before else 0,
            SUBJECT_TURNS if has["study"] else max(0, before.study - 1) if before else 0,
            has["resource"],
            has["past"],
            has["safe"],
            has["benign"],
        )

    def hits(
        self, masked: str, context: Context, may: Mapping[str, list[re.Pattern[str]]], across: int | None = None
    ) -> Iterator[Hit]:
        """Every rule that matches a masked turn, with its level after the frames.

        Args:
            may: `danger.scan(masked)`.
            across: only hits that span this position (where two turns were joined).
        """
        for rule in self.rules:
            if rule.id not in may:
                continue
            best: Hit | None = None
            for n, match in enumerate(chain.from_iterable(p.finditer(masked) for p in may[rule.id])):
                if across is not None and not rule.near and not match.start() < across < match.end() - 1:
                    continue
                window = masked[max(0, match.start() - NEAR) : match.end() + NEAR]
                if not all(p.search(window) for p in rule.near):
                    continue
                hit = self._framed(rule, match, masked, context)
                if best is None or hit.level > best.level:
                    best = hit
                if n >= 5 or best.level >= rule.level:
                    break
            if best is not None:
                yield best

    def _framed(self, rule: Rule, match: re.Match[str], text: str, context: Context) -> Hit:
        start, end = match.span()
        sentence_start = max((m.end() for m in _BREAK.finditer(text, 0, start)), default=0)
        stop = _BREAK.search(text, end)
        sentence = text[sentence_start : stop.start() if stop else len(text)]
        before = text[sentence_start:start]
        clause = _CLAUSE.split(before)[-1] if self.code == "zh" else before
        level, frames = rule.level, []

        def found(name: str, where: str) -> bool:
            if name in rule.keep or not self.frames[name].search(where):
                return False
            frames.append(name)
            return True

        if found("negated", clause[-14:] if self.code == "zh" else clause[-60:]):
            return Hit(rule.id, rule.kind, NONE, match[0], tuple(frames))
        first_person = bool(
            re.search(
                r"我(?!的?(?:角色|主角|写|演|朋友|同学))[^，。]{0,6}$"
                if self.code == "zh"
                else r"\bi\b|\bi'|\bmy(?:self)?\b",
                before[-24:] + match[0],
            )
        )
        same = self.frames["fiction"].search(sentence)
        # What was said of a film or game some time ago does not explain away what happens this minute.
        if context.fiction and (same or not first_person) and rule.level < IMMINENT + bool(same):
            frames.append("fiction")
            level = min(level, LOW)
        if context.study and (self.frames["study"].search(sentence) or not first_person):
            frames.append("study")
            level = min(level, LOW)
        present = bool(self.frames["present"].search(sentence))
        if context.safe and context.past and not present:
            frames.append("past")
            level = min(level, LOW)
        elif found("past", sentence) and not present:
            level = min(level, LOW)
        if rule.kind in _SELF and level > LOW and "other" not in rule.keep and self._other(before + match[0]):
            frames.append("other")
            level = level if level == IMMINENT else level - 1
            if context.resource:
                frames.append("resource")
                level = min(level, LOW)
        elif context.resource and level == MODERATE and self.frames["resource"].search(sentence) and not first_person:
            frames.append("resource")
            level = LOW
        if level == MODERATE and found("joke", sentence):
            level = LOW
        if rule.kind == "violence" and level == HIGH and found("joke", text):
            level = LOW
        near = clause if self.code == "zh" else _CLAUSE_EN.split(before)[-1]
        return Hit(rule.id, rule.kind, level, match[0], tuple(frames), self._other(near + match[0]))

    def _other(self, before: str) -> bool:
        """Whether the subject nearest before the hit is somebody else."""
        last_other = max((m.end() for m in self.frames["other"].finditer(before)), default=-1)
        if last_other < 0:
            return False
        mine = (
            r"(?:^|[^的跟和对让])我(?!的?(?:朋友|同学|妈|爸|儿子|女儿|哥|姐|弟|妹|室友|闺蜜|一个|们))|自己"
            if self.code == "zh"
            else r"\bi\b|\bi'\w+|\bmyself\b|\bme\b"
        )
        last_mine = max((m.end() for m in re.finditer(mine, before)), default=-1)
        return last_other > last_mine

    def found_signs(self, masked: str, may: Mapping[str, list[re.Pattern[str]]]) -> dict[str, float]:
        """Weight of each category of weak signs in a turn; `may` as for `hits`."""
        return {name: w for name, w in self.signs.items() if any(p.search(masked) for p in may.get(name, ()))}
