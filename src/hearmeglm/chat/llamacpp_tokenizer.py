"""As much of a tokenizer's face as `Template` needs, spoken by a running llama.cpp engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from ..models.template import load_template, template_names


class _Added(NamedTuple):
    content: str
    special: bool = True

    def __str__(self) -> str:
        return self.content


class _Vocabulary:
    """Control token -> id, asked of the engine one by one instead of copying a quarter of a million strings."""

    def __init__(self, ids: Callable[[str, bool], list[int]]) -> None:
        self._ids = cache(ids)

    def get(self, token: str) -> int | None:
        found = self._ids(token, True)
        return found[0] if len(found) == 1 else None

    def __contains__(self, token: str) -> bool:
        return self.get(token) is not None

    def __getitem__(self, token: str) -> int:
        found = self.get(token)
        if found is None:
            raise KeyError(token)
        return found


class LlamaCppTokenizer:
    """Text -> ids by the vocabulary in the GGUF file.

    Args:
        post: (path, body) -> answer of the engine.
        head: the file's metadata.
    """

    unk_token: str | None = None

    def __init__(self, post: Callable[[str, dict[str, Any]], dict[str, Any]], head: dict[str, Any]) -> None:
        self._post = post
        self._vocab = _Vocabulary(self._ids)
        self.eos_token_id: int | None = head.get("tokenizer.ggml.eos_token_id")
        self.unk_token_id = None  # the engine never answers "unknown" for a control token: it spells it
        known = sorted({s for n in template_names() for s in load_template(n).special})
        self.added_tokens_decoder = {i: _Added(s) for s in known if (i := self._vocab.get(s)) is not None}

    def __call__(
        self, text: str, add_special_tokens: bool = False, split_special_tokens: bool = True
    ) -> dict[str, list[int]]:
        return {"input_ids": self._ids(text, False) if text else []}

    def get_vocab(self) -> _Vocabulary:
        return self._vocab

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return self._vocab.get(token)

    def _ids(self, text: str, special: bool) -> list[int]:
        body = {"content": text, "add_special": False, "parse_special": special}
        ids: list[int] = self._post("/tokenize", body)["tokens"]
        return ids
