"""Models that the chat has loaded, and replies streamed from several of them at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from queue import Queue
from typing import Any

from ..chat.model import ChatModel
from ..chat.open import open_model
from ..recipe import Sampling
from ..types import Message

KEPT = 3
"""Models kept in memory; the one that was used longest ago goes first."""
_END = object()


class Models:
    """Loaded models by reference, shared by everyone who talks in this studio."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, ChatModel] = OrderedDict()
        self._lock = threading.Lock()
        self.at_work: dict[str, list[Stream]] = {}

    def halt(self, talk: str) -> None:
        """Stop the replies that a talk is waiting for; what has come stays."""
        for stream in self.at_work.get(talk, []):
            stream.stop()

    def get(self, ref: str) -> ChatModel:
        """The model that `ref` (RUN:stage, a directory, a URL …) names, loaded once.

        Raises:
            ModelError, RunError: nothing fits, or it cannot be loaded.
        """
        with self._lock:
            model = self._kept.pop(ref, None) or open_model(ref)
            self._kept[ref] = model
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return model

    def forget(self, prefix: str) -> None:
        """Drop the models of a run (it is being trained again, renamed or archived)."""
        with self._lock:
            for ref in [r for r in self._kept if r.startswith(prefix)]:
                del self._kept[ref]


class Stream:
    """One reply, made in a thread of its own so that several grow at once and one reader who leaves blocks nobody."""

    def __init__(self, model: ChatModel, messages: Sequence[Message], sampling: Sampling) -> None:
        self.text, self.tokens, self.finish_reason = "", 0, ""
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._queue: Queue[Any] = Queue()
        threading.Thread(target=self._work, args=(model, messages, sampling), daemon=True).start()

    def _work(self, model: ChatModel, messages: Sequence[Message], sampling: Sampling) -> None:
        try:
            stream = model.stream(messages, sampling)
            for chunk in stream:
                self._queue.put(chunk)
                if self._stop.is_set():
                    if close := getattr(stream, "close", None):
                        close()
                    break
        except Exception as err:  # shown to whoever reads the reply
            self.error = err
        self._queue.put(_END)

    def step(self, timeout_s: float) -> bool:
        """Take over what has come since; waits up to `timeout_s` for something. Returns whether more may come."""
        from queue import Empty

        try:
            items = [self._queue.get(timeout=timeout_s)]
        except Empty:
            return True
        # Only what is there now: a model faster than its reader would keep us here for ever.
        items += [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        ended = items[-1] is _END
        chunks = items[:-1] if ended else items
        self.text += "".join(c.text for c in chunks)
        self.tokens += sum(c.tokens for c in chunks)
        self.finish_reason = next((c.finish_reason for c in reversed(chunks) if c.finish_reason), self.finish_reason)
        return not ended

    def stop(self) -> None:
        """End the reply after the token at work."""
        self._stop.set()


def together(streams: Sequence[Stream], every_s: float = 0.15) -> Iterator[None]:
    """Yield whenever there may be more to show, until all replies are complete; stops them if the reader leaves.

    Raises:
        Exception: what a model raised, after the others have ended.
    """
    open_streams = list(streams)
    try:
        while open_streams:
            open_streams = [s for s in open_streams if s.step(every_s / len(open_streams))]
            yield
    finally:
        for stream in streams:
            stream.stop()
    for stream in streams:
        if stream.error is not None:
            raise stream.error
