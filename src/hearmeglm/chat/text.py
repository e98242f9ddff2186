"""Text in a stream: its lines, and stop texts (nothing after one is shown, nor what may still become one)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def lines(blocks: Iterable[bytes]) -> Iterator[str]:
    """Lines of a UTF-8 stream, ended by `\\n` alone.

    httpx's own `iter_lines` also breaks at U+2028 and its like, which JSON allows inside a string.
    """
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        yield from (line.decode("utf-8", "replace").rstrip("\r") for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace").rstrip("\r")


class StopFilter:
    """Passes text on until a stop text appears; holds back a tail that could be the beginning of one.

    Attributes:
        hit: True once a stop text has appeared.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [s for s in stops if s]
        self._held = ""
        self.hit = False

    def push(self, text: str) -> str:
        """Add text; returns what may be shown now."""
        if self.hit:
            return ""
        self._held += text
        found = [at for s in self._stops if (at := self._held.find(s)) >= 0]
        if found:
            self.hit = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        keep = max((n for s in self._stops for n in range(1, len(s)) if self._held.endswith(s[:n])), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def flush(self) -> str:
        """At the end of the reply: what was held back and did not become a stop text."""
        shown, self._held = self._held, ""
        return shown
