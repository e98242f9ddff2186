"""DRY, "don't repeat yourself": a penalty that grows with the length of what a next token would repeat.

As in text-generation-webui (p-e-w, pull request 5677) and llama.cpp: after a match of n tokens the token that went on last time
loses multiplier x BASE ** (n - ALLOWED) of its score. A loop ends after few rounds; text that does not repeat is untouched.
"""

from __future__ import annotations

from collections.abc import Sequence

ALLOWED = 3
"""Matches shorter than this many tokens go free."""
BASE = 1.75
"""The penalty grows by this factor with every further matching token."""
LONGEST = 50
"""Longest match that is told apart: the penalty is beyond any score by then."""


def repeats(reply: Sequence[int]) -> dict[int, int]:
    """Tokens that would make the end of `reply` repeat an earlier part of it -> how many tokens match before them.

    Only matches of `ALLOWED` tokens and more count. Unlike llama.cpp's, the search stays within the reply: a counsellor may
    well take up the client's words.
    """
    found: dict[int, int] = {}
    last = len(reply) - 1
    for at in range(last):
        if reply[at] == reply[last]:
            n = 1
            while n <= at and n < LONGEST and reply[at - n] == reply[last - n]:
                n += 1
            if n >= ALLOWED:
                found[reply[at + 1]] = max(n, found.get(reply[at + 1], 0))
    return found
