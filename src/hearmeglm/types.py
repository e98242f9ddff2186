"""The nouns that every floor shares: Message, Dialogue, Generation, Score.

They are plain frozen dataclasses (not pydantic) because half a million of them are streamed through the data workshop.
`to_json` and `from_json` are the only place where their on-disk spelling is written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Role = Literal["system", "user", "assistant"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Message:
    """One utterance, with the role names of the OpenAI chat schema."""

    role: Role
    content: str

    def to_json(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One talk between a client (`user`) and a counsellor (`assistant`), optionally opened by a `system` message.

    Attributes:
        id: unique within a run; stable across runs (made from source and place, not from order of reading).
        messages: in order of speaking.
        source: the name of the data source it came from.
        meta: strings that travel along (file, topic, lang, kind, licence …); never read by training.
    """

    id: str
    messages: tuple[Message, ...]
    source: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def turns(self) -> int:
        """Number of counsellor (assistant) messages."""
        return sum(m.role == "assistant" for m in self.messages)

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"id": self.id, "source": self.source, "messages": [m.to_json() for m in self.messages]}
        if self.meta:
            out["meta"] = dict(self.meta)
        return out

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> Dialogue:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError: the object is not a dialogue (readers turn this into a DataError that names the place).
        """
        return cls(
            id=str(obj["id"]),
            messages=messages_from_json(obj["messages"]),
            source=str(obj.get("source", "")),
            meta={str(k): str(v) for k, v in (obj.get("meta") or {}).items()},
        )


def messages_from_json(items: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Messages from OpenAI-style dicts; raises KeyError/TypeError/ValueError on another shape."""
    out = []
    for item in items:
        role, content = item["role"], item["content"]
        if role not in ROLES:
            raise ValueError(f"role {role!r} is not one of {', '.join(ROLES)}")
        if not isinstance(content, str):
            raise TypeError(f"content is {type(content).__name__}, not a string")
        out.append(Message(role, content))
    return tuple(out)


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer of one model to one prompt, beside the reference answer.

    Attributes:
        id: `dialogue_id` + `#` + turn; the same for every model, so that means can be paired.
        turn: which counsellor turn of the dialogue is answered, from 0.
        model: the model's name in the run (`base`, `base-prompted`, `stage1`, `stage2`, …).
        messages: the prompt, the last one a `user` message.
        tokens: number of generated tokens, the stop token not counted.
        finish_reason: "stop" or "length".
        first_token_s, total_s: seconds; None where the way of generating cannot tell them apart.
    """

    id: str
    dialogue_id: str
    turn: int
    model: str
    messages: tuple[Message, ...]
    prediction: str
    reference: str
    tokens: int
    finish_reason: str
    first_token_s: float | None = None
    total_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "dialogue_id": self.dialogue_id,
            "turn": self.turn,
            "model": self.model,
            "messages": [m.to_json() for m in self.messages],
            "prediction": self.prediction,
            "reference": self.reference,
            "tokens": self.tokens,
            "finish_reason": self.finish_reason,
            "first_token_s": self.first_token_s,
            "total_s": self.total_s,
        }

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> Generation:
        return cls(**{**obj, "messages": messages_from_json(obj["messages"])})


@dataclass(frozen=True, slots=True)
class Score:
    """One number about one Generation, or "unscored" (`value` None) with its reason. Unscored is counted, never 0."""

    id: str
    model: str
    metric: str
    value: float | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "model": self.model, "metric": self.metric, "value": self.value, "reason": self.reason}

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> Score:
        return cls(**obj)
