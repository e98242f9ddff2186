"""Which guard state and which kept talk belong to a request.

With a session (header `X-Session-Id`, else the field `user`) the guard's state of that session goes on, whatever history the
client sends; without one the client's own messages in the request are all there is, and all of them are assessed.
Two API keys never share a session, even under the same name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

from ..chat.model import ChatModel, Chunk
from ..chat.sessions import SessionStore, session_id
from ..recipe import Sampling
from ..safety.lexicon import LEVELS
from ..types import Message

REMEMBERED = 10_000
"""Guard states kept in memory; beyond, the longest untouched is forgotten (with a session store: read again from there)."""


class Guarded(ChatModel, Protocol):
    """A ChatModel with the guard around it, for one talk."""

    def state(self) -> dict[str, Any]:
        """What the guard remembers of the talk, without the client's words."""
        ...


OpenGuard = Callable[[dict[str, Any] | None], Guarded]
"""Makes the guarded model of one talk from its kept state (None: a new talk)."""


@dataclass(frozen=True, slots=True)
class Talk:
    """One request's talk."""

    owner: str
    session: str | None
    messages: Sequence[Message]
    sampling: Sampling


class Talks:
    """Answers talks, each with its own guard.

    Args:
        open_guard: None only where the guard was switched off.
        model: answers when there is no guard.
        store: keeps the talks that have a session; None: nothing is kept.
        on_level: told the guard's level of a talk after each message of a client.
    """

    def __init__(
        self,
        model: ChatModel,
        open_guard: OpenGuard | None,
        store: SessionStore | None = None,
        on_level: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._model, self._open_guard, self._store, self._on_level = model, open_guard, store, on_level
        self._states: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = Lock()

    def reply(self, talk: Talk) -> Iterator[Chunk]:
        """Answer; the client's message and the guard's state are kept before the first piece, the reply before the last."""
        sid = session_id(talk.session, talk.owner) if talk.session else None
        guarded = self._open_guard(self._state(sid)) if self._open_guard else None
        stream = (guarded or self._model).stream(talk.messages, talk.sampling)
        said: list[str] = []
        kept = False
        try:
            for chunk in stream:
                if not kept:
                    kept = True
                    state = self._remember(sid, guarded)
                    self._keep(sid, talk, talk.messages[-1], state)
                said.append(chunk.text)
                if chunk.finish_reason:
                    self._keep(sid, talk, Message("assistant", "".join(said)), None)
                    said.clear()
                yield chunk
        finally:
            close = getattr(stream, "close", None)
            if close:
                close()
            if said:  # the client left in the middle: what it has seen
                self._keep(sid, talk, Message("assistant", "".join(said)), None)

    def _state(self, sid: str | None) -> dict[str, Any] | None:
        if sid is None:
            return None
        with self._lock:
            if sid in self._states:
                self._states.move_to_end(sid)
                return self._states[sid]
        state: dict[str, Any] | None = self._store.state(sid) if self._store else None
        return state

    def _remember(self, sid: str | None, guarded: Guarded | None) -> dict[str, Any] | None:
        if guarded is None:
            return None
        state = guarded.state()
        self._on_level(str(state["worst"]["level"]))
        if sid is not None:
            with self._lock:
                state = self._states[sid] = _worse(self._states.get(sid), state)
                self._states.move_to_end(sid)
                while len(self._states) > REMEMBERED:
                    self._states.popitem(last=False)
        return state

    def _keep(self, sid: str | None, talk: Talk, message: Message, state: Any) -> None:
        if sid is not None and talk.session and self._store is not None:
            self._store.append(sid, talk.session, message, state=state)


def _worse(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """`new` with everything that another request of the same session found meanwhile: danger is never overwritten."""
    if old is None:
        return new
    worst = max(new["worst"], old["worst"], key=lambda w: LEVELS.index(w["level"]))
    return {**new, "worst": worst, "signs": {**old["signs"], **new["signs"]}, "turns": max(old["turns"], new["turns"])}
