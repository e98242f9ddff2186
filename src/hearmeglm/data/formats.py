"""One function a format: from a raw JSON value to a Draft. It knows the format, not the model.

Each raises `Unreadable` with what it expected and what it found when the value is not of its format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..types import Role
from .decode import Unreadable
from .labels import AT_START, role_of
from .records import Action, Draft, strings

ROLE_NAMES: dict[str, Role] = {
    **dict.fromkeys(("user", "human", "client", "seeker", "usr", "speaker", "patient", "visitor", "来访者", "求助者"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "counselor", "counsellor", "supporter", "listener", "sys", "therapist", "心理咨询师", "支持者"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}  # fmt: skip
"""What the formats call the three roles."""
TOOL_ROLES = {"tool", "function", "function_call", "observation"}


@dataclass(frozen=True)
class Format:
    """A data format.

    Attributes:
        name: as written in a recipe.
        about: its shape, in one line.
        parse: raw value -> Draft.
        whole_list: a JSON list of this format's file is one record, not a list of records.
        trainable: False for evaluation texts without counsellor turns.
    """

    name: str
    about: str
    parse: Callable[[Any], Draft]
    whole_list: bool = False
    trainable: bool = True


def _mapping(value: Any, *keys: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"expected an object with {', '.join(keys)}, found {_kind(value)}")
    missing = [k for k in keys if k not in value]
    if missing:
        raise Unreadable(
            f"expected the field {missing[0]!r}, found {', '.join(map(str, list(value)[:8])) or 'no field'}"
        )
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise Unreadable(f"expected a non-empty list in {name!r}, found {_kind(value)}")
    return value


def _text(value: Any, name: str, notes: list[tuple[str, Action, str]] | None = None) -> str:
    """A string, or OpenAI content parts that are all text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(p, dict) for p in value):
        if all(p.get("type") == "text" and isinstance(p.get("text"), str) for p in value):
            return "\n".join(p["text"] for p in value)
        raise Unreadable(f"expected text in {name!r}, found parts of another kind")
    raise Unreadable(f"expected text in {name!r}, found {_kind(value)}")


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }.get(type(value), type(value).__name__)


def _turns(items: list[Any], role_key: str, text_key: str, name: str) -> Draft:
    draft = Draft([])
    for number, item in enumerate(items):
        here = f"{name}[{number}]"
        turn = _mapping(item, role_key)
        role_name = turn[role_key]
        if not isinstance(role_name, str):
            raise Unreadable(f"expected a role in {here}.{role_key}, found {_kind(role_name)}")
        if role_name.lower() in TOOL_ROLES:
            draft.notes.append(("tool message", "removed", here))
            continue
        role = ROLE_NAMES.get(role_name.strip().lower())
        if role is None:
            raise Unreadable(f"expected the role user, assistant or system in {here}, found {role_name[:40]!r}")
        if text_key not in turn or (turn[text_key] is None and turn.get("tool_calls")):
            if "tool_calls" in turn or "function_call" in turn:
                draft.notes.append(("tool call", "removed", here))
                continue
            raise Unreadable(f"expected the field {text_key!r} in {here}, found {', '.join(map(str, list(turn)[:8]))}")
        draft.turns.append((role, _text(turn[text_key], f"{here}.{text_key}")))
    return draft


def openai(value: Any) -> Draft:
    """`{"messages": [{"role", "content"}]}` (PsyDTCorpus adds `normalizedTag`), or a bare list of messages."""
    if isinstance(value, list):
        return _turns(_list(value, "messages"), "role", "content", "messages")
    record = _mapping(value, "messages")
    draft = _turns(_list(record["messages"], "messages"), "role", "content", "messages")
    draft.meta = strings(
        {
            "topic": record.get("normalizedTag") or record.get("topic"),
            "lang": record.get("lang"),
            "kind": record.get("kind"),
            "approach": record.get("approach"),
        }
    )
    return draft


def sharegpt(value: Any) -> Draft:
    """`{"conversations": [{"from", "value"}], "system"?}`."""
    record = _mapping(value, "conversations")
    draft = _turns(_list(record["conversations"], "conversations"), "from", "value", "conversations")
    if isinstance(record.get("system"), str):
        draft.turns.insert(0, ("system", record["system"]))
    return draft


def emollm(value: Any) -> Draft:
    """`{"conversation": [{"system"?, "input", "output"}, …]}`; the system text stands on the first turn only."""
    record = _mapping(value, "conversation")
    draft, system = Draft([]), ""
    for number, item in enumerate(_list(record["conversation"], "conversation")):
        here = f"conversation[{number}]"
        turn = _mapping(item, "input", "output")
        found = _text(turn.get("system") or "", f"{here}.system")
        if found and found != system:
            draft.turns.append(("system", found))
            system = found
        draft.turns.append(("user", _text(turn["input"], f"{here}.input")))
        draft.turns.append(("assistant", _text(turn["output"], f"{here}.output")))
    return draft


def alpaca(value: Any) -> Draft:
    """`{"instruction", "input"?, "output", "history"?: [[question, answer]], "system"?}`."""
    record = _mapping(value, "instruction", "output")
    draft = Draft([])
    if record.get("system"):
        draft.turns.append(("system", _text(record["system"], "system")))
    history = record.get("history") or []
    if not isinstance(history, list):
        raise Unreadable(f"expected a list in 'history', found {_kind(history)}")
    for number, pair in enumerate(history):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Unreadable(f"expected [question, answer] in history[{number}], found {_kind(pair)}")
        draft.turns.append(("user", _text(pair[0], f"history[{number}][0]")))
        draft.turns.append(("assistant", _text(pair[1], f"history[{number}][1]")))
    question = [_text(record["instruction"], "instruction"), _text(record.get("input") or "", "input")]
    draft.turns.append(("user", "\n".join(p for p in question if p.strip())))
    draft.turns.append(("assistant", _text(record["output"], "output")))
    return draft


def cpsycoune(value: Any) -> Draft:
    """A list of strings `求助者：…` and `支持者：…` in turn."""
    draft = Draft([])
    for number, line in enumerate(_list(value, "the file")):
        text = _text(line, f"[{number}]")
        label = AT_START.match(text)
        if not label:
            raise Unreadable(
                f"expected a line that begins with 求助者： or 支持者：, found {text[:20]!r} in [{number}]"
            )
        draft.turns.append((role_of(label["word"]), text[label.end() :]))
    return draft


def smilechat(value: Any) -> Draft:
    """A list of `{"role": "client" | "counselor", "content"}`: one dialogue a file."""
    return _turns(_list(value, "the file"), "role", "content", "")


def esconv(value: Any) -> Draft:
    """`{"dialog": [{"speaker": "seeker" | "supporter", "content"}]}`; the failed set says `speaker` and `listener`."""
    record = _mapping(value, "dialog")
    draft = _turns(_list(record["dialog"], "dialog"), "speaker", "content", "dialog")
    draft.meta = strings(
        {
            "topic": record.get("problem_type"),
            "emotion": record.get("emotion_type"),
            "situation": record.get("situation"),
        }
    )
    return draft


def psysuicide(value: Any) -> Draft:
    """`{"text", "labels": [str]}`: one client text with risk labels, for evaluation only."""
    record = _mapping(value, "text", "labels")
    labels = _list(record["labels"], "labels")
    return Draft(
        [("user", _text(record["text"], "text"))],
        {"labels": "、".join(map(str, labels)), **strings({"data_source": record.get("data_source")})},
    )


JSON_FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("openai", 'OpenAI: {"messages": [{"role", "content"}]}, JSON or JSON Lines', openai),
        Format("sharegpt", 'ShareGPT: {"conversations": [{"from", "value"}]}', sharegpt),
        Format("emollm", 'EmoLLM: {"conversation": [{"system", "input", "output"}]}', emollm),
        Format("alpaca", 'Alpaca: {"instruction", "input", "output", "history", "system"}', alpaca),
        Format("emollm-self", "EmoLLM's self-cognition pairs: Alpaca's shape; with kind self-cognition the persona takes their identity", alpaca),
        Format("cpsycoune", "CPsyCounE: a list of strings 求助者：… / 支持者：… a file", cpsycoune, whole_list=True),
        Format("smilechat", 'SMILECHAT: a list of {"role": "client" | "counselor", "content"} a file', smilechat, whole_list=True),
        Format("psydt", 'PsyDTCorpus: {"id", "normalizedTag", "messages"}', openai),
        Format("esconv", 'ESConv and its failed file: {"dialog": [{"speaker", "content"}]}', esconv),
        Format("psysuicide", 'PsySUICIDE: {"text", "labels"}; for evaluation, it cannot be trained on', psysuicide, trainable=False),
    )
}  # fmt: skip


def recognise(value: Any) -> str | None:
    """Name of the JSON format that a raw value looks like, or None."""
    if isinstance(value, list) and value:
        first = value[0]
        if isinstance(first, str):
            return "cpsycoune" if AT_START.match(first) else None
        if isinstance(first, dict) and "role" in first:
            roles = {str(t.get("role", "")).lower() for t in value if isinstance(t, dict)}
            return "smilechat" if roles & {"client", "counselor", "counsellor"} else "openai"
        return None
    if not isinstance(value, dict):
        return None
    for key, name in (
        ("messages", "openai"),
        ("conversations", "sharegpt"),
        ("conversation", "emollm"),
        ("dialog", "esconv"),
    ):
        if key in value:
            return "psydt" if name == "openai" and "normalizedTag" in value else name
    if "instruction" in value and "output" in value:
        return "alpaca"
    if "text" in value and "labels" in value:
        return "psysuicide"
    return None
