"""Cleaning one dialogue at a time: every change and drop is told, nothing else is touched.

Text that spells control tokens (`<|user|>`, `[gMASK]`, `</s>` …) stays as plain text: encoding it as text is the template's duty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..errors import HearmeError
from ..recipe import Persona
from ..types import Dialogue, Message
from . import identity
from .decode import _CONTROL
from .labels import ANYWHERE, at_boundary, role_of
from .records import Action, Note, shorten

ZERO_WIDTH = re.compile(
    "[\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u2064\ufeff\u00ad]|(?<![\ufe0f\U0001f000-\U0001faff\u2600-\u27bf])\u200d|\u200d(?![\u2600-\u27bf\U0001f000-\U0001faff])"
)
"""Invisible characters, except the joiner inside an emoji."""
BLANKS = re.compile(r"[ \t\u3000\xa0]*\n[ \t\u3000\xa0]*|[ \t\u3000\xa0]{2,}")
MANY_LINES = re.compile(r"\n{3,}")
LEADING_STAGE = re.compile(r"^\s*(?:[（(](?![^（）()]{0,3}[）)]\s*[^\s]{0,2}$)[^（）()\n]{1,60}[）)]\s*)+")
"""Brackets at the head of an utterance: how it is said, not what is said."""
STAGE = re.compile(
    r"\s*[（(【](?:[^（）()【】\n]{0,40}?(?:微笑|苦笑|沉默|点头|摇头|叹气|叹息|哭泣|流泪|泪水|哽咽|停顿|安抚|语气|表情|轻声|片刻|一会儿|沉思|倾听|目光|眼神|眼眶|深吸|握住|拍拍|竖起|拥抱|对话(?:结束|继续|以|仍)|咨询(?:结束|继续)|此处省略|省略|催眠状态|绘画|画了一幅|画完|沙盘|smil(?:es|ing)|nods?|sighs?|paus(?:es|ing)|laughs?|cries|crying|silence)[^（）()【】\n]{0,60})[）)】]",
    re.IGNORECASE,
)
"""Brackets anywhere that describe a gesture, a pause or what happens off-stage."""
EMOJI_BRACKET = re.compile("[（(]\\s*([\u2600-\u27bf\ufe0f\u200d\U0001f000-\U0001faff]+)\\s*[^（）()\\n]{0,10}[）)]")
LEFTOVER = re.compile(
    r"(?:\s*(?:Dialogue|Conversation) ends? here\.?\s*|[（(](?:待续|完|未完待续)[）)])", re.IGNORECASE
)
SUSPECT = re.compile(
    rf"[（(【\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\u00ad\x00-\x09\x0b-\x1f\x7f]|\n{{3}}|[ \t]\n|\n[ \t]|  |[：:]|ends? here|{identity.ANY.pattern}",
    re.IGNORECASE,
)
"""One scan that lets most utterances pass untouched."""
LOOP_MIN = 15
"""A counsellor's reply of at least this many characters that returns word for word marks a loop."""


@dataclass(slots=True)
class Cleaned:
    """A cleaned dialogue, or None, with (place, reason, action, detail) of each change."""

    dialogue: Dialogue | None
    changes: list[tuple[str, str, Action, str]] = field(default_factory=list)

    def notes(self, file: str, place: str, source: str) -> list[Note]:
        """The changes as ledger lines."""
        return [
            Note(file, f"{place} {turn}".strip(), reason, action, detail, source)
            for turn, reason, action, detail in self.changes
        ]


@dataclass(frozen=True)
class Cleaner:
    """Cleans dialogues for a persona.

    Attributes:
        persona: takes the place of foreign identities.
        own: the dialogues are the project's own (packaged corpus, persona pairs): their names are right as they are.
        self_cognition: the source teaches identity, so false claims about oneself drop the pair.
    """

    persona: Persona
    own: bool = False
    self_cognition: bool = False

    def __call__(self, dialogue: Dialogue) -> Cleaned:
        """Clean one dialogue."""
        out = Cleaned(None)
        messages: list[Message] = []
        dependent = False
        replies: set[str] = set()
        for number, message in enumerate(dialogue.messages):
            place = f"turn {number}"
            text = message.content
            if message.role == "system":
                text, dependent = self._system(text, place, out)
            elif dependent or SUSPECT.search(text):
                cleaned = self._turn(message, place, out, dependent)
                if cleaned is None:
                    return out
                text, ends = cleaned
                if ends or not text:
                    if not ends:
                        out.changes.append((place, "nothing left of the turn", "cut", shorten(message.content)))
                    if text:
                        messages.append(Message(message.role, text))
                    break
            if message.role == "assistant" and len(text) >= LOOP_MIN:
                if text in replies:
                    out.changes.append((place, "repeated exchange", "cut", shorten(text)))
                    break
                replies.add(text)
            messages.append(message if text is message.content else Message(message.role, text))
        while messages and messages[-1].role == "user":
            messages.pop()
        if not any(m.role == "assistant" for m in messages):
            out.changes.append(
                ("", "no exchange left after cleaning", "dropped", shorten(dialogue.messages[-1].content))
            )
            return out
        _assert_no_label(messages, dialogue.id)
        out.dialogue = Dialogue(dialogue.id, tuple(messages), dialogue.source, dialogue.meta)
        return out

    def _system(self, text: str, place: str, out: Cleaned) -> tuple[str, bool]:
        if not self.own and identity.DEPENDENT_PROMPT.search(text):
            out.changes.append((place, "system prompt that seeks dependence", "replaced", shorten(text)))
            return identity.NEUTRAL_EMOJI_PROMPT, True
        return self._characters(text, place, out), False

    def _turn(self, message: Message, place: str, out: Cleaned, dependent: bool) -> tuple[str, bool] | None:
        """(text, whether the dialogue ends here), or None to drop the dialogue."""
        text = self._characters(message.content, place, out)
        if not self.own:
            text = self._stage(text, place, out)
        text, ends = self._labels(text, message.role, place, out)
        if self.own or not (dependent or identity.ANY.search(text) or self.self_cognition):
            return text, ends
        if message.role == "user":
            named = identity.own_names(identity.client_names(text, self.persona), self.persona)
            if named != text:
                out.changes.append((place, "foreign identity", "replaced", shorten(text)))
            return named, ends
        if identity.CLAIM.search(text) or ("舔狗" in text and "我是" in text):
            out.changes.append((place, "foreign identity", "dropped", shorten(text)))
            return None
        if self.self_cognition and (claim := identity.FALSE_CLAIM.search(text)):
            out.changes.append((place, "false claim about itself", "dropped", shorten(f"{claim[0]}: {text}")))
            return None
        named = identity.reply_names(identity.own_names(text, self.persona))
        if named != text:
            out.changes.append((place, "foreign identity", "replaced", shorten(text)))
        if dependent:
            free = identity.without_dependence(named)
            if free != named:
                out.changes.append((place, "manner that seeks dependence", "removed", shorten(named)))
            named = free
        return named, ends

    @staticmethod
    def _characters(text: str, place: str, out: Cleaned) -> str:
        cleaned = text.replace("\r\n", "\n").replace("\r", "\n")
        if ZERO_WIDTH.search(cleaned) or _CONTROL.search(cleaned):
            cleaned = _CONTROL.sub("", ZERO_WIDTH.sub("", cleaned))
            out.changes.append((place, "invisible character", "removed", ""))
        return MANY_LINES.sub("\n\n", BLANKS.sub(lambda m: "\n" if "\n" in m[0] else " ", cleaned)).strip()

    @staticmethod
    def _stage(text: str, place: str, out: Cleaned) -> str:
        cleaned = EMOJI_BRACKET.sub(r"\1", LEFTOVER.sub(" ", text))
        cleaned = STAGE.sub("", LEADING_STAGE.sub("", cleaned)).strip()
        if cleaned == text:
            return text
        out.changes.append((place, "stage direction in a turn", "removed", shorten(text, 60)))
        return cleaned

    @staticmethod
    def _labels(text: str, role: str, place: str, out: Cleaned) -> tuple[str, bool]:
        """Labels of the speaker vanish, the other's label ends the dialogue, one inside a sentence loses its colon."""
        position = 0
        while label := ANYWHERE.search(text, position):
            if not at_boundary(text, label.start()):
                out.changes.append(
                    (place, "role label inside a sentence", "replaced", shorten(text[max(0, label.start() - 20) :]))
                )
                text = f"{text[: label.end() - 1]}，{text[label.end() :]}"
                position = label.start()
            elif role_of(label["word"]) == role:
                out.changes.append((place, "role label", "removed", shorten(text[label.start() :])))
                head, tail = text[: label.start()].rstrip(), text[label.end() :].lstrip()
                text = f"{head}\n{tail}" if head and tail else head or tail
            else:
                out.changes.append((place, "the other speaks inside the turn", "cut", shorten(text[label.start() :])))
                return text[: label.start()].strip(), True
        return text, False


def _assert_no_label(messages: list[Message], id: str) -> None:
    """The hard guarantee: no role label is ever taught; a fault of ours if it fails."""
    for message in messages:
        if message.role == "assistant" and (label := ANYWHERE.search(message.content)):
            raise HearmeError(f"dialogue {id}: role label {label[0]!r} survived cleaning")
