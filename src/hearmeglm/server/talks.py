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
from threading import Event, RLock
from typing import Any

from ..chat.guarded import GuardedModel, GuardEvent
from ..chat.model import ChatModel, Chunk
from ..chat.notices import Clock, without_notices
from ..chat.sessions import SessionStore, session_id
from ..recipe import Sampling
from ..safety.decision import closed
from ..safety.guard import Session, guard
from ..safety.lexicon import LEVELS
from ..safety.policy import Policy
from ..safety.replies import language_of
from ..types import Message
from .gate import log, place_of
from .replies import Stoppable

REMEMBERED = 10_000
"""Guard states kept in memory where there is no session store; beyond, the longest untouched is forgotten."""


@dataclass(frozen=True, slots=True)
class Talk:
    """One request's talk.

    Attributes:
        owner: name of the API key; empty without keys.
        session: the session's name, if the request has one.
        region: whose hotlines to show; None: the server's.
        consent: the client lets the incident log hold its message, if the policy keeps texts at all.
    """

    owner: str
    session: str | None
    region: str | None
    messages: Sequence[Message]
    sampling: Sampling
    consent: bool = False

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
        on_event: told what the guard did with each reply of which talk.
    """

    def __init__(
        self,
        model: ChatModel,
        policy: Policy | None,
        store: SessionStore | None = None,
        on_event: Callable[[GuardEvent, Talk], None] | None = None,
        notices: bool = True,
    ) -> None:
        self._model, self._policy, self._store, self._on_event = model, policy, store, on_event
        self._notices = notices
        self._states: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = RLock()

    def reply(self, talk: Talk, stopped: Event) -> Iterator[Chunk]:
        """Answer; the client's message and the guard's state are kept before the first piece, the reply before the last.

        Once `stopped` is set the model breaks off.
        """
        model = Stoppable(self._model, stopped)
        if self._policy is None:
            return self._kept(talk, None, model.stream(talk.messages, talk.sampling), "")
        policy = self._policy.model_copy(update={"region": talk.region or self._policy.region})
        memory, told = self._begun(policy, talk)
        history = [
            Message(m.role, without_notices(m.content, policy)) if m.role == "assistant" else m for m in talk.messages
        ]
        session = memory.session if memory else None
        tell = self._on_event
        on_event = (lambda event: tell(event, talk)) if tell else None
        guarded = GuardedModel(model, policy.region, session, on_event, policy=policy)
        return self._kept(talk, memory, guarded.stream(history, talk.sampling), told)

    def _begun(self, policy: Policy, talk: Talk) -> tuple[_Memory | None, str]:
        """What goes on from the session, if the talk has one, and the notices that are due.

        Where they cannot be read there are no notices, and the guard takes it for a crisis: a damaged file must not keep the reply
        from somebody who was in danger.
        """
        sid = session_id(talk.session, talk.owner) if talk.session else None
        try:
            saved = self._state(sid) or {}
            memory = _Memory(guard().session(saved or None), Clock.from_json(saved.get("clock"))) if sid else None
            return memory, self._told(policy, talk, memory)
        except Exception as err:
            log.error("a session could not be read: %s", place_of(err))
            session = guard().session()
            session.worst = session.firm = closed(f"{type(err).__name__} while reading the session")
            return _Memory(session, Clock()), ""

    def _told(self, policy: Policy, talk: Talk, memory: _Memory | None) -> str:
        if not self._notices:
            return ""
        text, clock = talk.said.content if talk.said else "", memory.clock if memory else None
        said = [m.content for m in talk.messages if m.role == "user"]
        # before the guard around the model reads them: the base's answers are remembered, so only the rules run twice
        crisis = bool(memory and memory.session.worst.crisis) or guard().assess(said).crisis
        if clock is None and any(m.role == "assistant" for m in talk.messages):
            now = time.time()
            clock = Clock(started=now - 1, noticed=now, rested=now, seen=now)  # somewhere in a talk
        return "\n\n".join((clock or Clock()).due(policy, text, language_of(text), crisis=crisis))

    def _kept(self, talk: Talk, memory: _Memory | None, stream: Iterator[Chunk], told: str) -> Iterator[Chunk]:
        said: list[str] = []
        asked = False
        try:
            for chunk in stream:
                if not asked:
                    asked = True
                    self._keep(talk, talk.said, memory, first=True)
                    if told:
                        said.append(f"{told}\n\n")
                        yield Chunk(said[0], 0)
                said.append(chunk.text)
                if chunk.finish_reason:
                    self._keep(talk, Message("assistant", "".join(said)), memory)
                    said.clear()
                yield chunk
        finally:
            close = getattr(stream, "close", None)
            if close:
                close()
            if not asked:  # the model failed, or the client left too early: what the guard heard stays heard
                self._keep(talk, talk.said, memory, first=True)
            if said:  # the client left in the middle: what it has seen
                self._keep(talk, Message("assistant", "".join(said)), memory)

    def _state(self, sid: str | None) -> dict[str, Any] | None:
        """The session's state: the store's, and what could not be written there."""
        if sid is None:
            return None
        with self._lock:
            here = self._states.get(sid)
            kept: dict[str, Any] | None = self._store.state(sid) if self._store else None
            return _worse(kept, here) if here else kept

    def _keep(self, talk: Talk, message: Message | None, memory: _Memory | None, *, first: bool = False) -> None:
        """Keep a message; the `first` of a reply together with the session's state, merged and written as one step.

        A store that fails keeps no reply from somebody in danger; else its error is raised, for nothing unkept is acknowledged.
        """
        if not talk.session:
            return
        sid = session_id(talk.session, talk.owner)
        with self._lock:
            state = memory.to_json() if memory and first else None
            try:
                if state is not None:
                    state = _worse(self._state(sid), state)
                if self._store is None:
                    self._hold(sid, state)
                    return
                self._store.append(sid, talk.session, *([message] if message else []), state=state, new=first)
                if first:
                    self._states.pop(sid, None)
            except Exception as err:
                self._hold(sid, state)
                if memory is None or not memory.session.worst.crisis:
                    raise
                log.error("a talk in danger could not be kept: %s", place_of(err))

    def _hold(self, sid: str, state: dict[str, Any] | None) -> None:
        if state is not None:
            self._states[sid] = _worse(self._states.get(sid), state)
            self._states.move_to_end(sid)
            while len(self._states) > REMEMBERED:
                self._states.popitem(last=False)


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
