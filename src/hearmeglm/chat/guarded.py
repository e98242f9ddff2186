"""A ChatModel with the guard on both sides; the surfaces (chat, API, studio, batch) put it around whatever model they serve.

    talk = GuardedModel(model, region="CN", session=guard().session())     # one a talk: remembers an elevated state
    for chunk in talk.stream(messages, sampling): ...                        # chunks that have passed the check
    talk.last.assessment, talk.last.intervened                               # what happened; also sent to `on_event`

Without a `session` each call is judged by its own messages alone, so one object may serve many talks. When danger is first heard,
when the region's numbers have not been shown yet, when a new grave kind appears, or when danger is imminent, the answer is a written
one that asks directly, gives the numbers and points to people. While the state is elevated the model's reply is checked whole, and a
written text that asks and gives the numbers again follows it; the texts take turns, so that none comes twice in a row. Otherwise
sentences are shown as they pass the check; one that does not is left out, a written one takes its place, and the reply ends.
Any failure of guard or check fails closed: the written reply is shown, never the unchecked one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from ..recipe import Sampling
from ..safety import hotlines
from ..safety.decision import Assessment, closed, rank
from ..safety.guard import Guard, Session, guard
from ..safety.hotlines import Lang, check_region
from ..safety.lexicon import HIGH, LEVELS
from ..safety.output import Problem, check_reply, undecided
from ..safety.policy import Policy
from ..safety.replies import INSTEAD, language_of, reply, was_shown
from ..types import Message
from .model import ChatModel, Chunk

CARE = {
    "zh": "对方可能正处在危机中。温和、简短地回应：先接住情绪，直接问是否安全，鼓励联系身边的人和专业帮助，保持陪伴。不提供任何方法，不评判，不诊断，不开药，不写电话号码。",
    "en": "The person may be in crisis. Answer warmly and briefly: acknowledge the feeling, ask directly whether they are safe, encourage people nearby and professional help, stay with them. Give no methods, no judgement, no diagnosis, no medication, no telephone numbers.",
}
RECENT = 3
"""For so many of the client's turns after the last dangerous one each reply asks again; then it only names the numbers."""
_SENTENCE = re.compile(r"[。！？!?\n]+[”’\"']?|\.(?=\s)")


@dataclass(frozen=True, slots=True)
class GuardEvent:
    """What the guard did with one reply: for the screen, the metrics and the opt-in incident log (it holds no text)."""

    assessment: Assessment
    turn: Assessment
    intervened: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _State:
    """What the guard knows when a reply begins.

    Attributes:
        before, turn, now: state before this message, this message within its talk, state now.
        number: of the client's turn, from 0; chooses among the variants of a text.
        calm: how many of the client's turns ago the danger was last heard; 0: in this one.
    """

    before: Assessment
    turn: Assessment
    now: Assessment
    region: str
    lang: Lang
    number: int
    calm: int = 0
    young: bool = False

    def text(self, kind: str) -> str:
        return reply(kind, self.region, self.lang, self.number, young=self.young, danger=self.now.kind)


class GuardedModel:
    """See the module's head.

    Args:
        model: what answers.
        region: code of the hotline table that the client chose.
        session: memory of this talk, or None to judge each call alone.
        on_event: called once a reply.
        policy: names youth lines first in its minors mode, and says whether a companion may be played; the default one if None.

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
        policy: Policy | None = None,
    ) -> None:
        self.model, self.region, self.session = model, check_region(region), session
        self.policy = policy or Policy.model_validate({})
        self.on_event, self._guard = on_event, the_guard or guard()
        self.last: GuardEvent | None = None
        self._seen = 0

    @property
    def name(self) -> str:
        return f"{self.model.name}+guard"

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """The checked reply; closing the iterator cancels the model's."""
        heard = self.session is not None and self.session.worst.crisis
        state = self._assess(messages)
        kind = self._card(messages, state, heard)
        if kind:
            yield from self._written(state.text(kind), GuardEvent(state.now, state.turn, "written"))
        elif state.now.crisis:
            yield from self._whole(messages, sampling, state)
        else:
            yield from self._by_sentence(messages, sampling, state)

    def _card(self, messages: Sequence[Message], state: _State, heard: bool) -> str:
        """The kind of written reply that is due without asking the model; empty if none is.

        Args:
            heard: the session knew of the danger before this call; all there is to go by if the client sends no history.
        """
        turn, before = state.turn, state.before
        if turn.closed:
            return turn.kind
        if not turn.crisis:
            return ""
        kind = "other" if turn.other else turn.kind
        said = [m.content for m in messages if m.role == "assistant"]
        numbers = [row.number for row in hotlines.get(self.region, ("crisis",))]
        told = any(number in text for text in said for number in numbers) if said else heard
        grave = LEVELS.index(turn.level) >= HIGH
        shown = was_shown(kind, state.lang, said) if said else turn.kind == before.kind
        if not before.crisis or not told or (grave and not shown):
            return kind
        return "imminent" if turn.level == "imminent" else ""

    def _assess(self, messages: Sequence[Message]) -> _State:
        # Where nothing is the client's, the last message is what the model answers to.
        turns = [m.content for m in messages if m.role == "user"] or [m.content for m in messages[-1:]]
        lang: Lang = "zh"
        for i, text in enumerate(turns):  # "ok" or a message without letters goes on in the language before it
            if not i or len(text.split()) > 2 or language_of(text, lang) == "zh":
                lang = language_of(text, lang)
        try:
            talk = self._guard.session()
            danger_at, before = -1, talk.worst
            for i, text in enumerate(turns):
                before = talk.worst
                talk.add(text)
                if talk.last.crisis:
                    danger_at = i
            turn, now, calm = talk.last, talk.worst, len(turns) - 1 - danger_at
            if not calm and before.crisis and LEVELS.index(turn.level) < HIGH:
                # After danger the guard stays wary: a moderate finding may come from the words before this message.
                calm = 0 if self._guard.assess(turns[-1:]).crisis else 1
            if self.session is not None:
                before, had = max(before, self.session.worst, key=rank), self.session.turns
                for text in turns[self._seen :] if self._seen < len(turns) else turns[-1:]:
                    self.session.add(text)
                if (
                    turns and not self._seen
                ):  # a session taken up again has counted the messages that the client sends anew
                    self.session.turns = max(had + 1, len(turns))
                self._seen = len(turns)
                if turns:  # more than `talk` knows, where the client sends no history
                    turn = max(turn, self.session.last, key=rank)
                now = max(now, self.session.worst, key=rank)
            number = max(len(turns), self.session.turns if self.session else 0) - 1
            return _State(before, turn, now, self.region, lang, number, calm, self.policy.minors)
        except Exception as err:
            failed = closed(type(err).__name__)
            return _State(
                Assessment(), failed, failed, self.region, lang, max(len(turns) - 1, 0), young=self.policy.minors
            )

    def _whole(self, messages: Sequence[Message], sampling: Sampling, state: _State) -> Iterator[Chunk]:
        """Elevated state: the model's reply is read to its end before a word of it is shown."""
        care = [Message("system", CARE[state.lang])]
        prompt = [*messages]
        if prompt and prompt[0].role == "system":
            care = [replace(prompt.pop(0), content=f"{prompt_text(messages)}\n\n{CARE[state.lang]}")]
        pieces, tokens, read, finish = [], 0, 0, "stop"
        problems: tuple[Problem, ...] = ()
        try:
            with closing(self.model.stream([*care, *prompt], sampling)) as chunks:  # type: ignore[type-var]
                for chunk in chunks:
                    pieces.append(chunk.text)
                    tokens, read = tokens + chunk.tokens, read + chunk.prompt_tokens
                    finish = chunk.finish_reason or finish
        except KeyboardInterrupt:  # the numbers are not lost with a reply that somebody was too impatient for
            problems = (Problem("stopped", ""),)
        except Exception as err:  # nobody in danger is left with an error message
            problems = (Problem("model", type(err).__name__),)
        text = "".join(pieces).strip()
        problems = problems or (self._check(text, crisis=True) if text else (Problem("empty", ""),))
        follow = state.text("again" if not state.calm else "reminder" if state.calm <= RECENT else "later")
        if problems:
            instead = _instead(problems)
            # `again` says it better; who stopped the model has read enough.
            alone = problems[0].reason == "stopped" or (not state.calm and instead in ("safer", "numbers"))
            shown = follow if alone else f"{state.text(instead)}\n\n{follow}"
            yield from self._written(shown, GuardEvent(state.now, state.turn, "replaced", problems), tokens, read)
            return
        self._tell(GuardEvent(state.now, state.turn, "reminder"))
        yield Chunk(f"{text}\n\n{follow}", tokens, None, read)
        yield Chunk("", 0, finish)

    def _by_sentence(self, messages: Sequence[Message], sampling: Sampling, state: _State) -> Iterator[Chunk]:
        """No crisis: a sentence is shown once the reply up to its end has passed the check, and what follows cannot change that."""
        text, shown, held, read, finish = "", 0, 0, 0, "stop"

        def replaced(problems: tuple[Problem, ...]) -> Iterator[Chunk]:
            event = GuardEvent(state.now, state.turn, "replaced", problems)
            yield from self._written("\n" * bool(shown) + state.text(_instead(problems)), event, held, read)

        with closing(self.model.stream(messages, sampling)) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                text += chunk.text
                held, read = held + chunk.tokens, read + chunk.prompt_tokens
                finish = chunk.finish_reason or finish
                ends = [m.end() for m in _SENTENCE.finditer(text, shown) if not undecided(text[: m.end()])]
                if not ends:
                    continue
                if problems := self._check(text[: ends[-1]], crisis=False):
                    yield from replaced(problems)
                    return
                yield Chunk(text[shown : ends[-1]], held, None, read)
                shown, held, read = ends[-1], 0, 0
        if problems := self._check(text, crisis=False):
            yield from replaced(problems)
            return
        self._tell(GuardEvent(state.now, state.turn))
        if text[shown:] or held:
            yield Chunk(text[shown:], held)
        yield Chunk("", 0, finish, read)

    def _check(self, text: str, *, crisis: bool) -> tuple[Problem, ...]:
        try:
            return check_reply(text, region=self.region, crisis=crisis, roleplay=self.policy.companion_roleplay)
        except Exception as err:
            return (Problem("closed", type(err).__name__),)

    def _written(self, text: str, event: GuardEvent, tokens: int = 0, read: int = 0) -> Iterator[Chunk]:
        """A written text; `tokens`, `read`: what the model made and read for the reply that it stands for."""
        self._tell(event)
        yield Chunk(text, tokens, None, read)
        yield Chunk("", 0, "stop")

    def _tell(self, event: GuardEvent) -> None:
        self.last = event
        if self.on_event is not None:
            try:
                self.on_event(event)
            except Exception as err:  # bookkeeping must not keep a reply from somebody in danger
                print(f"guard: an event was not recorded: {type(err).__name__}", file=sys.stderr)


def prompt_text(messages: Sequence[Message]) -> str:
    """Content of the opening system message, or empty."""
    return messages[0].content if messages and messages[0].role == "system" else ""


def _instead(problems: Sequence[Problem]) -> str:
    """Which written text takes the place of a reply with these problems."""
    return INSTEAD.get(problems[0].reason, "safer")
