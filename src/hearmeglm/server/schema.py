"""Requests and answers of the OpenAI chat API, as far as this server offers it.

Unknown fields are passed over, as OpenAI's own server does for clients newer than itself; a known field that asks for
something we do not do is refused by name rather than ignored.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator

from ..recipe import Sampling
from ..types import Message
from .errors import ApiError
from .limits import Limits

Text = Annotated[str, Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]
Stop = Annotated[str, Field(min_length=1, max_length=64)]


class TextPart(BaseModel):
    """One part of a message's content; only text is understood."""

    type: Literal["text"]
    text: Text


class ChatMessage(BaseModel):
    """One message. `developer` is taken as `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]

    @field_validator("content")
    @classmethod
    def _is_text(cls, content: str | list[TextPart]) -> str | list[TextPart]:
        for text in [content] if isinstance(content, str) else [p.text for p in content]:
            if "\x00" in text:  # llama.cpp would stop reading here, the guard would not
                raise ValueError("holds a NUL character")
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError("holds half of a surrogate pair") from None
        return content

    def plain(self) -> Message:
        text = self.content if isinstance(self.content, str) else "\n".join(p.text for p in self.content)
        return Message("system" if self.role == "developer" else self.role, text)


class StreamOptions(BaseModel):
    """Options of a streamed reply."""

    include_usage: StrictBool = False


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(max_length=256, description="A name that `GET /v1/models` lists.")
    messages: list[ChatMessage] = Field(min_length=1)
    stream: StrictBool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    repetition_penalty: float | None = Field(None, ge=0.1, le=10, allow_inf_nan=False)
    dry_multiplier: float | None = Field(None, ge=0, le=10, allow_inf_nan=False)
    seed: int | None = Field(None, ge=0, lt=2**32)
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    user: str | None = Field(None, max_length=256, description="Names the session if X-Session-Id does not.")
    n: Literal[1] | None = None
    presence_penalty: float | None = Field(None, ge=0, le=0, description="Not offered; only 0 is taken.")
    frequency_penalty: float | None = Field(None, ge=0, le=0, description="Not offered; only 0 is taken.")
    logprobs: Annotated[StrictBool, Field(json_schema_extra={"const": False})] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = Field(None, description="Not offered.")

    @field_validator(
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "repetition_penalty",
        "dry_multiplier",
        "seed",
        "n",
        "presence_penalty",
        "frequency_penalty",
        mode="before",
    )
    @classmethod
    def _is_number(cls, value: Any) -> Any:
        if isinstance(value, (bool, str)):
            raise ValueError("must be a number")
        return value

    @field_validator("logprobs")
    @classmethod
    def _no_logprobs(cls, logprobs: bool | None) -> bool | None:
        if logprobs:
            raise ValueError("not offered")
        return logprobs

    def talk(self, limits: Limits) -> list[Message]:
        """The messages, held to the server's limits.

        Raises:
            ApiError: too many or too long.
        """
        if len(self.messages) > limits.messages:
            raise ApiError(
                400, f"at most {limits.messages} messages are taken", "context_length_exceeded", param="messages"
            )
        talk = [m.plain() for m in self.messages]
        if sum(len(m.content) for m in talk) > limits.characters:
            raise ApiError(
                400, f"at most {limits.characters} characters are taken", "context_length_exceeded", param="messages"
            )
        return talk

    def sampling(self, defaults: Sampling, limits: Limits) -> Sampling:
        """How the reply is drawn: the request's values over the server's defaults.

        Raises:
            ApiError: a longer reply is asked for than the server makes.
        """
        for name in ("max_tokens", "max_completion_tokens"):
            if (getattr(self, name) or 0) > limits.new_tokens:
                raise ApiError(400, f"at most {limits.new_tokens} new tokens are made", "invalid_value", param=name)
        asked = self.max_completion_tokens or self.max_tokens
        given = {
            # so near 0 it is greedy, and dividing by it would leave the range of float32
            "temperature": 0.0 if self.temperature is not None and self.temperature < 1e-3 else self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "repetition_penalty": self.repetition_penalty,
            "dry_multiplier": self.dry_multiplier,
            "seed": secrets.randbits(32) if self.seed is None else self.seed,
            "max_new_tokens": asked or min(limits.default_tokens, limits.new_tokens),
            "stop": None if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop),
        }
        return defaults.model_copy(update={k: v for k, v in given.items() if v is not None})


class ErrorInfo(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(BaseModel):
    """Every answer that is not 2xx."""

    error: ErrorInfo


class AnswerMessage(BaseModel):
    """The reply."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(BaseModel):
    """The one choice of an answer."""

    index: int = 0
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]


class Usage(BaseModel):
    """Tokens that the model read and made; both are 0 for a reply that the guard wrote, `prompt_tokens` also where the backend does not tell."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ModelCard(BaseModel):
    """One served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "hearmeglm"


class ModelList(BaseModel):
    """The served models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """`status` is "failing" when no backend answers; `guard` is "degraded" when its model-based layer cannot work and the others go on,
    "closed" when none can and only its written replies are given.
    """

    status: Literal["ok", "failing"]
    model: str
    guard: Literal["on", "degraded", "off", "closed"]
    running: int
    waiting: int


class Disclosure(BaseModel):
    """Texts about Jerry: for the first use (with consent), and for the start of each talk."""

    first_use: str
    start: str
