"""A ChatModel with the guard on both sides; the surfaces (chat, API, studio, batch) put it around whatever model they serve.

    talk = GuardedModel(model, region="CN", session=guard().session())     # one a talk: remembers an elevated state
    for chunk in talk.stream(messages, sampling): ...                        # chunks that have passed the check
    talk.last.assessment, talk.last.intervened                               # what happened; also sent to `on_event`

Without a `session` each call is judged by its own messages alone, so one object may serve many talks. When danger is first heard,
or is imminent, the answer is a written one that asks directly and shows the region's resources; while the state is elevated the
model's reply is checked whole and a line with the numbers follows it; otherwise sentences are shown as they pass the check.
Any failure of guard or check fails closed: the written reply is shown, never the unchecked one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import cast

from ..recipe import Sampling
from ..safety.guard import Assessment, Guard, Session, closed, guard
from ..safety.hotlines import Lang, check_region
from ..safety.lexicon import LEVELS
from ..safety.output import Problem, check_reply
from ..safety.replies import language_of, reply
from ..types import Message
from .model import ChatModel, Chunk

CARE = {
    "zh": "对方可能正处在危机中。温和、简短地回应：先接住情绪，直接问是否安全，鼓励联系身边的人和专业帮助，保持陪伴。不提供任何方法，不评判，不诊断，不开药，不写电话号码。",
    "en": "The person may be in crisis. Answer warmly and briefly: acknowledge the feeling, ask directly whether they are safe, encourage people nearby and professional help, stay with them. Give no methods, no judgement, no diagnosis, no medication, no telephone numbers.",
}
_SENTENCE = re.compile(r"[。！？!?\n]+[”’\"']?|\.(?=\s)")


@dataclass(frozen=True, slots=True)
class GuardEvent:
    """What the guard did with one reply: for the screen, the metrics and the opt-in incident log (it holds no text)."""

    assessment: Assessment
    turn: Assessment
    intervened: str = ""
    problems: tuple[Problem, ...] = ()


class GuardedModel:
    """See the module's head.

    Args:
        model: what answers.
        region: code of the hotline table that the client chose.
        session: memory of this talk, or None to judge each call alone.
        on_event: called once a reply.

    Raises:
        UserError: no such region.
    """

    def __init__(
        self,
        model: ChatModel,
        region: str = "CN",
        session: Session | None = None,
        on_event: Callable[[GuardEvent], None] | None = None,
        the_guard: Guard | None = None,
    ) -> None:
        self.model, self.region, self.session = model, check_region(region), session
        self.on_event, self._guard = on_event, the_guard or guard()
        self.last: GuardEvent | None = None
        self._seen = 0

    @property
    def name(self) -> str:
        return f"{self.model.name}+guard"

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """The checked reply; closing the iterator cancels the model's."""
        before, turn, now = self._assess(messages)
        lang = language_of(next((m.content for m in reversed(messages) if m.role == "user"), ""))
        raised = turn.crisis and (not before.crisis or LEVELS.index(turn.level) > LEVELS.index(before.level))
        if turn.closed or raised or (turn.crisis and turn.level == "imminent"):
            kind = turn.kind if raised or turn.closed or not before.crisis else "again"
            yield from self._written(reply(kind, self.region, lang), GuardEvent(now, turn, "written"))
            return
        if now.crisis:
            yield from self._whole(messages, sampling, now, turn, lang)
        else:
            yield from self._by_sentence(messages, sampling, now, turn, lang)

    def _assess(self, messages: Sequence[Message]) -> tuple[Assessment, Assessment, Assessment]:
        """(state before this message, this message within its talk, state now)."""
        turns = [m.content for m in messages if m.role == "user"]
        try:
            talk = self._guard.session()
            for text in turns[:-1]:
                talk.add(text)
            before = talk.worst
            if self.session is not None:
                before = max(before, self.session.worst, key=_rank)
                for text in turns[self._seen :] if self._seen < len(turns) else turns[-1:]:
                    self.session.add(text)
                self._seen = len(turns)
            if turns:
                talk.add(turns[-1])
            turn = talk.last
            return before, turn, max(before, turn, key=_rank)
        except Exception as err:
            failed = closed(type(err).__name__)
            return Assessment(), failed, failed

    def _whole(
        self, messages: Sequence[Message], sampling: Sampling, now: Assessment, turn: Assessment, lang: str
    ) -> Iterator[Chunk]:
        """Elevated state: the model's reply is read to its end before a word of it is shown."""
        code = cast(Lang, lang)
        care = [Message("system", CARE[lang])]
        prompt = [*messages]
        if prompt and prompt[0].role == "system":
            care = [replace(prompt.pop(0), content=f"{prompt_text(messages)}\n\n{CARE[lang]}")]
        pieces, tokens, finish = [], 0, "stop"
        with closing(self.model.stream([*care, *prompt], sampling)) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                pieces.append(chunk.text)
                tokens += chunk.tokens
                finish = chunk.finish_reason or finish
        text = "".join(pieces).strip()
        problems = self._check(text, crisis=True) if text else (Problem("empty", ""),)
        if problems:
            kind = "again" if turn.crisis else "safer"
            note = "" if turn.crisis else "\n\n" + reply("reminder", self.region, code)
            yield from self._written(reply(kind, self.region, code) + note, GuardEvent(now, turn, "replaced", problems))
            return
        self._tell(GuardEvent(now, turn, "reminder"))
        yield Chunk(f"{text}\n\n{reply('reminder', self.region, code)}", tokens)
        yield Chunk("", 0, finish)

    def _by_sentence(
        self, messages: Sequence[Message], sampling: Sampling, now: Assessment, turn: Assessment, lang: str
    ) -> Iterator[Chunk]:
        """No crisis: a sentence is shown once the reply up to its end has passed the check."""
        text, shown, held, finish = "", 0, 0, "stop"
        with closing(self.model.stream(messages, sampling)) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                text += chunk.text
                held += chunk.tokens
                finish = chunk.finish_reason or finish
                ends = [m.end() for m in _SENTENCE.finditer(text, shown)]
                if not ends:
                    continue
                if problems := self._check(text[: ends[-1]], crisis=False):
                    yield from self._written(
                        self._instead(lang, bool(shown)), GuardEvent(now, turn, "replaced", problems)
                    )
                    return
                yield Chunk(text[shown : ends[-1]], held)
                shown, held = ends[-1], 0
        if problems := self._check(text, crisis=False):
            yield from self._written(self._instead(lang, bool(shown)), GuardEvent(now, turn, "replaced", problems))
            return
        self._tell(GuardEvent(now, turn))
        if text[shown:] or held:
            yield Chunk(text[shown:], held)
        yield Chunk("", 0, finish)

    def _instead(self, lang: str, after_text: bool) -> str:
        return ("\n" if after_text else "") + reply("safer", self.region, cast(Lang, lang))

    def _check(self, text: str, *, crisis: bool) -> tuple[Problem, ...]:
        try:
            return check_reply(text, region=self.region, crisis=crisis)
        except Exception as err:
            return (Problem("closed", type(err).__name__),)

    def _written(self, text: str, event: GuardEvent) -> Iterator[Chunk]:
        self._tell(event)
        yield Chunk(text, 0)
        yield Chunk("", 0, "stop")

    def _tell(self, event: GuardEvent) -> None:
        self.last = event
        if self.on_event is not None:
            self.on_event(event)


def prompt_text(messages: Sequence[Message]) -> str:
    """Content of the opening system message, or empty."""
    return messages[0].content if messages and messages[0].role == "system" else ""


def _rank(a: Assessment) -> int:
    return LEVELS.index(a.level)
