"""Which guard state and which kept talk belong to a request.

Notices of the policy (an AI is speaking, take a break …) come as the first piece of a reply, and are taken out again where a client
sends them back in its history. Timers need a session; without one only the start of a talk is known.

With a session (header `X-Session-Id`, else the field `user`) the guard's state of that session goes on, whatever history the
client sends; without one the client's own messages in the request are all there is, and all of them are assessed.
Two API keys never share a session, even under the same name.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any

from ..chat.guarded import GuardedModel, GuardEvent
from ..chat.model import ChatModel, Chunk
from ..chat.notices import Clock, without_notices
from ..chat.sessions import SessionStore, session_id
from ..recipe import Sampling
from ..safety.guard import Session, guard
from ..safety.lexicon import LEVELS
from ..safety.policy import Policy
from ..safety.replies import language_of
from ..types import Message
from .replies import Stoppable

REMEMBERED = 10_000
"""Guard states kept in memory; beyond, the longest untouched is forgotten (with a session store: read again from there)."""


@dataclass(frozen=True, slots=True)
class Talk:
    """One request's talk.

    Attributes:
        owner: name of the API key; empty without keys.
        session: the session's name, if the request has one.
        region: whose hotlines to show; None: the server's.
    """

    owner: str
    session: str | None
    region: str | None
    messages: Sequence[Message]
    sampling: Sampling

    @property
    def said(self) -> Message | None:
        """What the client has just said; None if the request ends with another role."""
        return self.messages[-1] if self.messages[-1].role == "user" else None


class Talks:
    """Answers talks, each with its own guard.

    Args:
        model: answers.
        policy: region, notices and their times; None: no guard and no notices (research on this machine only).
        notices: False where the front end shows them itself.
        store: keeps the talks that have a session; None: nothing is kept.
        on_event: told what the guard did with each reply; holds no text.
    """

    def __init__(
        self,
        model: ChatModel,
        policy: Policy | None,
        store: SessionStore | None = None,
        on_event: Callable[[GuardEvent], None] | None = None,
        notices: bool = True,
    ) -> None:
        self._model, self._policy, self._store, self._on_event = model, policy, store, on_event
        self._notices = notices
        self._states: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = Lock()

    def reply(self, talk: Talk, stopped: Event) -> Iterator[Chunk]:
        """Answer; the client's message and the guard's state are kept before the first piece, the reply before the last.

        Once `stopped` is set the model breaks off.
        """
        model = Stoppable(self._model, stopped)
        if self._policy is None:
            return self._kept(talk, None, model.stream(talk.messages, talk.sampling), "")
        policy = self._policy.model_copy(update={"region": talk.region or self._policy.region})
        sid = session_id(talk.session, talk.owner) if talk.session else None
        saved = self._state(sid) or {}
        memory = _Memory(guard().session(saved or None), Clock.from_json(saved.get("clock"))) if sid else None
        told = self._told(policy, talk, memory.clock if memory else None)
        history = [
            Message(m.role, without_notices(m.content, policy)) if m.role == "assistant" else m for m in talk.messages
        ]
        guarded = GuardedModel(model, policy.region, memory.session if memory else None, self._on_event)
        return self._kept(talk, memory, guarded.stream(history, talk.sampling), told)

    def _told(self, policy: Policy, talk: Talk, clock: Clock | None) -> str:
        if not self._notices:
            return ""
        text = talk.said.content if talk.said else ""
        if clock is None and any(m.role == "assistant" for m in talk.messages):
            now = time.time()
            clock = Clock(started=now - 1, noticed=now, rested=now, seen=now)  # somewhere in a talk
        return "\n\n".join((clock or Clock()).due(policy, text, language_of(text)))

    def _kept(self, talk: Talk, memory: _Memory | None, stream: Iterator[Chunk], told: str) -> Iterator[Chunk]:
        said: list[str] = []
        asked = False
        try:
            for chunk in stream:
                if not asked:
                    asked = True
                    self._keep(talk, talk.said, self._remember(talk, memory))
                    if told:
                        said.append(f"{told}\n\n")
                        yield Chunk(said[0], 0)
                said.append(chunk.text)
                if chunk.finish_reason:
                    self._keep(talk, Message("assistant", "".join(said)), None)
                    said.clear()
                yield chunk
        finally:
            close = getattr(stream, "close", None)
            if close:
                close()
            if said:  # the client left in the middle: what it has seen
                self._keep(talk, Message("assistant", "".join(said)), None)

    def _state(self, sid: str | None) -> dict[str, Any] | None:
        if sid is None:
            return None
        with self._lock:
            if sid in self._states:
                self._states.move_to_end(sid)
                return self._states[sid]
        state: dict[str, Any] | None = self._store.state(sid) if self._store else None
        return state

    def _remember(self, talk: Talk, memory: _Memory | None) -> dict[str, Any] | None:
        if memory is None or talk.session is None:
            return None
        sid = session_id(talk.session, talk.owner)
        with self._lock:
            state = self._states[sid] = _worse(self._states.get(sid), memory.to_json())
            self._states.move_to_end(sid)
            while len(self._states) > REMEMBERED:
                self._states.popitem(last=False)
        return state

    def _keep(self, talk: Talk, message: Message | None, state: Any) -> None:
        if talk.session and self._store is not None:
            messages = [message] if message else []
            self._store.append(session_id(talk.session, talk.owner), talk.session, *messages, state=state)


@dataclass
class _Memory:
    """What goes on from request to request of one session; no words of the client."""

    session: Session
    clock: Clock

    def to_json(self) -> dict[str, Any]:
        return {**self.session.to_json(), "clock": self.clock.to_json()}


def _worse(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """`new` with everything that another request of the same session found meanwhile: danger is never overwritten."""
    if old is None:
        return new
    worst = max(new["worst"], old["worst"], key=lambda w: LEVELS.index(w["level"]))
    return {**new, "worst": worst, "signs": {**old["signs"], **new["signs"]}, "turns": max(old["turns"], new["turns"])}
