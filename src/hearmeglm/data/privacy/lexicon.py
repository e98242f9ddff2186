"""The word lists behind names, schools and companies, and a dictionary that tells names from ordinary words."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("lexicon.yaml")


@dataclass(frozen=True)
class Lexicon:
    """The lists of `lexicon.yaml`, ready for use."""

    surnames: str
    compound: tuple[str, ...]
    given: frozenset[str]
    titles: tuple[str, ...]
    kin: tuple[str, ...]
    public: frozenset[str]
    english: frozenset[str]
    english_ambiguous: frozenset[str]
    english_public: frozenset[str]
    brands: tuple[str, ...]
    english_brands: tuple[str, ...]
    not_addressed: frozenset[str]
    not_english: frozenset[str]


@cache
def lexicon() -> Lexicon:
    """The lists, read once."""
    tree = yaml.safe_load(FILE.read_text(encoding="utf-8"))

    def longest_first(words: list[str]) -> tuple[str, ...]:
        return tuple(sorted(words, key=len, reverse=True))

    return Lexicon(
        surnames="".join(sorted(set("".join(tree["surnames"].split())))),
        compound=tuple(tree["compound_surnames"]),
        given=frozenset("".join(tree["given"].split())),
        titles=longest_first(tree["titles"]),
        kin=longest_first(tree["kin"]),
        public=frozenset(tree["public_figures"].split()),
        english=frozenset(n.lower() for n in tree["english_names"].split()),
        english_ambiguous=frozenset(tree["english_ambiguous"].split()),
        english_public=frozenset(tree["english_public"].split()),
        brands=longest_first(tree["brands"]),
        english_brands=longest_first(tree["english_brands"]),
        not_addressed=frozenset(tree["not_addressed"].split()),
        not_english=frozenset(tree["not_english"].split()),
    )


@cache
def words() -> frozenset[str]:
    """Chinese words of two to four characters that are no personal names, from jieba's dictionary (350,000 entries, offline)."""
    spec = importlib.util.find_spec("jieba")
    if spec is None or spec.origin is None:  # pragma: no cover - jieba is a dependency
        return frozenset()
    found, lex = set(), lexicon()
    with open(Path(spec.origin).with_name("dict.txt"), encoding="utf-8") as lines:
        for line in lines:
            word, count, tag = line.rsplit(" ", 2)
            if not 2 <= len(word) <= 4 or int(count) < 3:
                continue
            if not tag.startswith("nr"):
                found.add(word)
            elif int(count) >= 200 and not (word[0] in lex.surnames and all(c in lex.given for c in word[1:])):
                found.add(word)  # the dictionary tags 师傅, 养老, 阳光 as names
    found.update(yaml.safe_load(FILE.read_text(encoding="utf-8"))["not_names"].split())
    return frozenset(found)


def begins_word(text: str, start: int, longest: int = 4, shortest: int = 2) -> bool:
    """Whether an ordinary word of `shortest` to `longest` characters begins at `start`."""
    known = words()
    return any(text[start : start + n] in known for n in range(shortest, longest + 1) if start + n <= len(text))


def crosses_word(text: str, start: int) -> bool:
    """Whether an ordinary word begins before `start` and runs over it (`关于|老师`: the surname is no surname)."""
    known = words()
    return any(text[start - back : start + ahead] in known for back in (1, 2) for ahead in (1, 2) if start - back >= 0)
