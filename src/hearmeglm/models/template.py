"""Chat templates as data: messages -> token ids and loss mask, the same for training, evaluation, chat and export.

A template is a YAML file in `templates/` (or a path of your own). Its texts are split into *segments*: control tokens,
literal text, and `{content}`. Each segment is tokenised by itself and contents are tokenised with the control tokens
switched off, so that a client who types `<start_of_turn>` has typed fourteen characters, not a turn (role injection).

Supervised is what the model itself must generate: the `reply` of every counsellor turn up to and including the first
stop token; nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import ModelError
from ..types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
"""Label of a position without loss (PyTorch's `ignore_index`)."""
FOLDER = Path(__file__).parent / "templates"
CONTENT = "{content}"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tokenised dialogue.

    Attributes:
        input_ids: token ids, length L.
        labels: length L; the id itself where supervised, else -100. Not shifted (the model shifts).
        truncated: True if turns were cut to fit `max_length`.
    """

    input_ids: list[int]
    labels: list[int]
    truncated: bool = False


class AssistantFormat(BaseModel):
    """A counsellor turn: `prompt` is given, `reply` is generated (supervised), `after` follows unsupervised."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    prompt: str
    reply: str
    after: str = ""


class Template(BaseModel):
    """One model family's chat format."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = ""
    special: tuple[str, ...] = Field(description="Control tokens that the texts below may hold; each one id.")
    strip: bool = Field(True, description="Trim contents, as the family's own template does.")
    begin: str = ""
    system: str | None = Field(
        None, description="Format of a system message; null: it goes before the first user text."
    )
    user: str
    assistant: AssistantFormat
    end: str = Field("", description="Follows a finished dialogue in training; supervised.")
    supervise_next: bool = Field(
        False, description="The token after a reply (the next role) is what stops the model: supervise it."
    )
    stop: tuple[str, ...] = Field((), description="Tokens that end a reply.")
    stop_strings: tuple[str, ...] = Field((), description="Texts that end a reply.")
    jinja: str = Field("", description="The same format as a Hugging Face chat template, for exported models.")

    def encode(
        self, messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, max_length: int | None = None
    ) -> Encoded:
        """Token ids and labels of a whole dialogue for training.

        Longer than `max_length`: later turns are cut, so that the sequence ends with a counsellor turn; if not even
        the first one fits, its tail is cut.
        """
        ids: list[int] = self._ids(self.begin, "", tokenizer)
        labels = [IGNORE] * len(ids)
        end = self._ids(self.end, "", tokenizer)
        complete = len(ids)  # where the last counsellor turn that fits ends
        stop_next = False
        truncated = False
        for role, content in self._turns(messages):
            parts = self._turn(role, content, tokenizer)
            new = [i for part, _ in parts for i in part]
            marks = [i if learn else IGNORE for part, learn in parts for i in part]
            if stop_next and new:
                marks[0] = new[0]
            stop_next = self.supervise_next and role == "assistant"
            if max_length is not None and len(ids) + len(new) + len(end) > max_length and role == "assistant":
                truncated = True
                if any(x != IGNORE for x in labels):
                    break
                ids, labels = (ids + new)[:max_length], (labels + marks)[:max_length]
                return Encoded(ids, labels, truncated)
            ids += new
            labels += marks
            if role == "assistant":
                complete = len(ids)
        ids, labels = ids[:complete], labels[:complete]
        return Encoded(ids + end, labels + end, truncated)

    def encode_prompt(
        self, messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, max_length: int | None = None
    ) -> list[int]:
        """Token ids up to and including the generation prompt.

        Longer than `max_length`: the oldest exchanges are left out (a system message stays).

        Raises:
            ModelError: not even the last message fits.
        """
        system, rest = [m for m in messages if m.role == "system"], [m for m in messages if m.role != "system"]
        tail = self._ids(self.assistant.prompt, "", tokenizer)
        while True:
            ids = self._ids(self.begin, "", tokenizer)
            for role, content in self._turns([*system, *rest]):
                for part, _ in self._turn(role, content, tokenizer):
                    ids += part
            if max_length is None or len(ids) + len(tail) <= max_length:
                return ids + tail
            if len(rest) <= 1:
                raise ModelError(
                    f"the message is too long: expected at most {max_length} tokens, found {len(ids) + len(tail)}",
                    hint="shorten it",
                )
            rest = rest[2:] if rest[1].role == "assistant" else rest[1:]

    def stop_ids(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """Ids that end a reply (the template's stop tokens that the tokenizer knows, and its eos)."""
        vocab = tokenizer.get_vocab()
        ids = [vocab[t] for t in self.stop if t in vocab]
        if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ids:
            ids.append(tokenizer.eos_token_id)
        return ids

    def _turns(self, messages: Sequence[Message]) -> list[tuple[str, str]]:
        clean: list[tuple[str, str]] = [(m.role, m.content.strip() if self.strip else m.content) for m in messages]
        if self.system is not None:
            return list(clean)
        waiting, out = "", []
        for role, content in clean:
            if role == "system":
                waiting += content + "\n\n"
            elif role == "user" and waiting:
                out.append((role, waiting + content))
                waiting = ""
            else:
                out.append((role, content))
        return out

    def _turn(self, role: str, content: str, tokenizer: PreTrainedTokenizerBase) -> list[tuple[list[int], bool]]:
        if role != "assistant":
            return [(self._ids(self.user if role == "user" else self.system or CONTENT, content, tokenizer), False)]
        fmt = self.assistant
        return [
            (self._ids(fmt.prompt, "", tokenizer), False),
            (self._ids(fmt.reply, content, tokenizer), True),
            (self._ids(fmt.after, "", tokenizer), False),
        ]

    def _ids(self, text: str, content: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        ids: list[int] = []
        for segment in _segments(text, self.special):
            if segment in self.special:
                ids.append(special_id(segment, tokenizer))
            elif segment == CONTENT:
                ids += plain_ids(content, tokenizer, self.special)
            else:
                ids += tokenizer(segment, add_special_tokens=False)["input_ids"]
        return ids


@lru_cache(maxsize=256)
def _segments(text: str, special: tuple[str, ...]) -> tuple[str, ...]:
    marks = sorted((*special, CONTENT), key=len, reverse=True)
    return tuple(s for s in re.split("(" + "|".join(map(re.escape, marks)) + ")", text) if s)


def special_id(token: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of a control token; raises ModelError if the tokenizer does not have it."""
    found = tokenizer.convert_tokens_to_ids(token)
    if found is None or (found == tokenizer.unk_token_id and token != tokenizer.unk_token):
        raise ModelError(
            f"the template needs the token {token}, which this tokenizer does not have",
            hint="choose another `template`",
        )
    return int(found)


def plain_ids(text: str, tokenizer: PreTrainedTokenizerBase, special: tuple[str, ...] = ()) -> list[int]:
    """Ids of `text` as plain text: whatever control token it spells stays letters.

    Args:
        special: tokens that a template uses although the tokenizer does not call them special (Qwen3's `<think>`).
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    control = _control(tokenizer) | {special_id(t, tokenizer): t for t in special}
    if control.keys().isdisjoint(ids):
        return ids
    # A tokenizer whose model itself knows the token (Unigram, ignore_merges): take the spelling apart.
    spelled = re.compile("|".join(re.escape(control[i]) for i in sorted({i for i in ids if i in control})))
    pieces, last = [], 0
    for match in spelled.finditer(text):
        pieces += [text[last : match.start() + 1]]
        last = match.start() + 1
    pieces.append(text[last:])
    return [i for p in pieces for i in tokenizer(p, add_special_tokens=False, split_special_tokens=True)["input_ids"]]


def _control(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    cached: dict[int, str] | None = tokenizer.__dict__.get("_hearme_control")
    if cached is None:
        cached = {
            i: str(t) for i, t in tokenizer.added_tokens_decoder.items() if t.special and i != tokenizer.unk_token_id
        }
        tokenizer.__dict__["_hearme_control"] = cached
    return cached


def load_template(name: str) -> Template:
    """A packaged template by name, or a YAML file of your own.

    Raises:
        ModelError: unknown name, or a file that is not a template.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ModelError(
            f"expected a template, found none named {name!r}",
            hint=f"have: {', '.join(template_names())}, or a .yaml file",
        )
    try:
        tree: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Template.model_validate({"name": path.stem, **tree})
    except (ValidationError, yaml.YAMLError, TypeError) as err:
        raise ModelError(f"expected a template, found {err}", where=str(path)) from None


def template_names() -> list[str]:
    """Names of the packaged templates."""
    return sorted(p.stem for p in FOLDER.glob("*.yaml"))


def find_template(name: str, tokenizer: PreTrainedTokenizerBase) -> Template:
    """The named template, or for "auto" the one with the most control tokens among those that the tokenizer has whole.

    Raises:
        ModelError: none fits.
    """
    if name != "auto":
        return load_template(name)
    vocab = tokenizer.get_vocab()
    fitting = [t for t in map(load_template, template_names()) if t.special and all(s in vocab for s in t.special)]
    if not fitting:
        raise ModelError(
            "no packaged template fits this base's control tokens",
            hint="name one in the recipe: `template: plain`, or a .yaml file of your own",
        )
    return max(fitting, key=lambda t: len(t.special))
