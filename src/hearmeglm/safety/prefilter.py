"""Which of some thousand patterns can match a text at all? Most danger words are rare, so nearly all are ruled out by what they need.

    scanner = Scanner({"rule 0": "(?:想|要)[^，。]{0,6}(?:死|自杀)|割腕", "mask": "笑死"})
    scanner.scan("今天天气不错")      # {}: no pattern has to be tried
    scanner.scan("我想死")            # {"rule 0": [the first alternative]}

A pattern is cut at its outer `|` into alternatives. What an alternative needs is read off its parsed form as clauses: sets of strings of
1 to 3 characters, of which a matching text contains at least one. A clause only ever says "cannot match" when that is certain, so the
filter changes no result (`tests/safety/test_prefilter.py` compares with trying everything).
"""

from __future__ import annotations

import importlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

Clause = frozenset[str]
_parser: Any = importlib.import_module("re._parser")
_COMMON = frozenset("我你他她的了不是有就一在人都也想要会这那没和着到说去来上下得个么")
_WIDEST = 600
compiled = lru_cache(maxsize=None)(re.compile)
"""Alternatives are compiled when they are first tried."""


class Scanner:
    """Patterns by name, found by an index over the rarest thing that each alternative needs.

    Raises:
        re.error: a damaged pattern.
    """

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self._rows: list[tuple[str, str, tuple[Clause, ...]]] = []
        index: dict[str, list[int]] = defaultdict(list)
        self._always: list[int] = []
        for name, pattern in patterns.items():
            for part in alternatives(pattern):
                first, *rest = required(part) or (frozenset(),)
                row = len(self._rows)
                self._rows.append((name, part, tuple(rest)))
                for gram in first:
                    index[gram].append(row)
                if not first:
                    self._always.append(row)
        self._index = dict(index)
        self._keys = self._index.keys()

    def scan(self, text: str) -> dict[str, list[re.Pattern[str]]]:
        """The alternatives that may match, in their order, by the name of their pattern."""
        found = grams(text)
        rows = set(self._always)
        for gram in self._keys & found:
            rows.update(self._index[gram])
        out: dict[str, list[re.Pattern[str]]] = defaultdict(list)
        for row in sorted(rows):
            name, part, rest = self._rows[row]
            if not any(clause.isdisjoint(found) for clause in rest):
                out[name].append(compiled(part))
        return out


def grams(text: str) -> set[str]:
    """Every run of one, two or three characters."""
    out = set(text)
    out.update(map("".join, pairwise(text)))
    out.update(map("".join, zip(text, text[1:], text[2:], strict=False)))
    return out


def alternatives(pattern: str) -> list[str]:
    """A pattern cut at the `|` that stand in no group, class or escape."""
    parts, start, depth, i, in_class = [], 0, 0, 0, False
    while i < len(pattern):
        c = pattern[i]
        if c == "\\":
            i += 1
        elif in_class:
            in_class = c != "]"
        elif c == "[":
            in_class = True
            i += pattern[i + 1 : i + 2] == "^"
            i += pattern[i + 1 : i + 2] == "]"
        elif c in "()":
            depth += 1 if c == "(" else -1
        elif c == "|" and depth == 0:
            parts.append(pattern[start:i])
            start = i + 1
        i += 1
    return [*parts, pattern[start:]]


def required(pattern: str) -> tuple[Clause, ...]:
    """The clauses of a pattern, rarest first; none for one that may match anything."""
    return tuple(sorted(set(_clauses(_parser.parse(pattern))), key=lambda c: (_chance(c), sorted(c))))


def _chance(clause: Clause) -> float:
    """A guess how likely harmless text contains one of the strings; only the order of the guesses matters."""
    return sum(_GUESS[min(len(g), 3), g.isascii()] if g not in _COMMON else 0.5 for g in clause)


_GUESS = {(1, True): 0.9, (2, True): 0.2, (3, True): 0.03, (1, False): 0.04, (2, False): 0.015, (3, False): 0.002}


def _clauses(items: Iterable[Any]) -> list[Clause]:
    """What a sequence of parsed items needs: the clauses of its parts, and of its runs of literals."""
    out: list[Clause] = []
    run: list[str] = []

    def close() -> None:
        if word := "".join(run):
            out.extend({frozenset([word[:3]]), frozenset([word[-3:]])})
        run.clear()

    for op, value in items:
        name = str(op)
        if name == "LITERAL":
            run.append(chr(value))
        elif name == "SUBPATTERN" and all(str(o) == "LITERAL" for o, _ in value[3]):
            run.extend(chr(v) for _, v in value[3])
        elif name not in ("ASSERT", "ASSERT_NOT", "AT"):  # those have no width: a run of literals goes on behind them
            close()
            out.extend(c for c in _part(name, value) if c)
    close()
    return out


def _part(name: str, value: Any) -> list[Clause]:
    if name == "IN":
        return [_letters(value)]
    if name == "SUBPATTERN":
        return _clauses(value[3])
    if name == "BRANCH":
        return [_either([_clauses(b) for b in value[1]])]
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and value[0] > 0:
        return _clauses(value[2])
    return []


def _letters(members: Iterable[Any]) -> Clause:
    """The characters of a class made of single characters and short ranges; empty (no clause) for any other."""
    out: set[str] = set()
    for op, value in members:
        if str(op) == "LITERAL":
            out.add(chr(value))
        elif str(op) == "RANGE" and value[1] - value[0] <= 30:
            out.update(map(chr, range(value[0], value[1] + 1)))
        else:
            return frozenset()
    return frozenset(out)


def _either(branches: list[list[Clause]]) -> Clause:
    """One clause that holds whenever any branch does: the rarest clause of each, together."""
    if not all(branches):
        return frozenset()
    together = frozenset[str]().union(*(min(b, key=_chance) for b in branches))
    return together if len(together) <= _WIDEST else frozenset()
