"""A ChatModel over llama.cpp (the `xllamacpp` wheel) for GGUF files: the light way to run Jerry.

The engine is llama.cpp's own server inside this process: continuous batching, so that several users are answered at
once, and a prompt cache per user. It is reached on a loopback port behind a key drawn at start, because that is the
engine's only door with token ids and cancellation. Prompts go in as token ids made by our template, text by text with
control tokens switched off: a user who types `<|assistant|>` has typed letters.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..models import dry
from ..models.gguf_header import DRY_KEY, TEMPLATE_KEY, read_header
from ..models.template import Template, find_template
from ..recipe import Sampling
from ..types import Message
from .llamacpp_tokenizer import LlamaCppTokenizer
from .model import Chunk
from .text import StopFilter, lines

CONTEXT = 8192
"""Tokens kept for all users together."""
CACHE_MIB = 64
"""Bound of the engine's prompt cache. Gemma 3 270M takes 18 KiB a token, so about ten talks of 300 tokens; without a bound
(the engine's own is 8 GiB) a server with many clients grows for as long as it runs."""


class LlamaCppModel:
    """A GGUF file, answering up to `users` talks at the same time.

    Args:
        path: the file.
        name: for tables and prompts; by default the file's name.
        template: a packaged template's name; "auto" takes the one in the file, else the one that fits its vocabulary.
        context: tokens of context for all users together.
        talk: longest prompt and reply of one of them; by default all of `context`.
        users: talks decoded together; more wait for their turn.
        threads: by default one per processor this process may use.
        cache_mib: most memory for prompts of talks that are not being answered just now, in MiB.
        cache_type: number format of the KV cache, `f16` or `f32`.

    Raises:
        ModelError: not a GGUF file, an architecture that llama.cpp does not know, or no template that fits.
    """

    def __init__(
        self,
        path: str | Path,
        name: str = "",
        *,
        template: str = "auto",
        context: int = CONTEXT,
        talk: int | None = None,
        users: int = 4,
        threads: int | None = None,
        cache_mib: int = CACHE_MIB,
        cache_type: str = "f16",
    ) -> None:
        import httpx

        head = read_header(path)
        self.name = name or Path(path).stem
        trained = head.get(f"{head.get('general.architecture')}.context_length", context)
        self.context = min(talk or context, int(trained))
        key = secrets.token_urlsafe(32)
        threads = threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._server = _serve(str(path), key, context, users, threads, cache_mib, cache_type)
        self._http = httpx.Client(
            base_url=self._server.listening_address,
            headers={"Authorization": f"Bearer {key}"},
            timeout=None,
            trust_env=False,  # a proxy variable must not catch a loopback address
            limits=httpx.Limits(max_keepalive_connections=0),  # the engine closes after each reply
        )
        self.tokenizer: Any = LlamaCppTokenizer(self._post, head)
        if template == "auto" and TEMPLATE_KEY in head:
            self.template = Template.model_validate_json(head[TEMPLATE_KEY])
        else:
            self.template = find_template(template, self.tokenizer)
        self.dry_multiplier = float(head.get(DRY_KEY, 0.0))
        self._stops = frozenset(self.template.stop_ids(self.tokenizer))

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """See `ChatModel.stream`. May be called from several threads; closing the iterator ends the work at once."""
        sampling = sampling.settled(self.dry_multiplier)
        prompt = self.template.encode_prompt(messages, self.tokenizer, self.context - sampling.max_new_tokens)
        stop = StopFilter((*self.template.stop_strings, *sampling.stop))
        begun = False
        finish = "stop"
        counted, read = 0, len(prompt)
        for piece in self._pieces(prompt, sampling):
            if self._stops.intersection(piece.get("tokens") or ()):
                break
            if piece.get("stop"):
                finish = "length" if piece.get("stop_type") == "limit" else "stop"
                break
            text = stop.push(piece["content"] if begun else piece["content"].lstrip())
            begun = begun or bool(text)
            # A character that takes several tokens comes as one event.
            made, counted = piece["tokens_predicted"] - counted, piece["tokens_predicted"]
            yield Chunk(text, made, None, read)
            read = 0
            if stop.hit:
                break
        yield Chunk(stop.flush(), 0, finish, read)

    def _pieces(self, prompt: list[int], sampling: Sampling) -> Iterator[dict[str, Any]]:
        """The engine's events, one a token; the connection is closed (and the work with it) when the caller stops."""
        import httpx

        try:
            with self._http.stream("POST", "/completion", json=request(prompt, sampling, self.context)) as reply:
                if reply.status_code != 200:
                    reply.read()
                    raise ModelError(f"llama.cpp refused the prompt: {_reason(reply.text)}", where=self.name)
                for line in lines(reply.iter_bytes()):
                    if line.startswith("data: "):
                        event: dict[str, Any] = json.loads(line[6:])
                        yield event
                    elif line.startswith("error: "):
                        raise ModelError(f"llama.cpp broke off: {_reason(line[7:])}", where=self.name)
        except httpx.HTTPError as err:
            raise ModelError(f"llama.cpp broke off: {err or type(err).__name__}", where=self.name) from None

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = self._http.post(path, json=body)
        if reply.status_code != 200:
            raise ModelError(f"llama.cpp refused: {_reason(reply.text)}", where=self.name)
        out: dict[str, Any] = reply.json()
        return out


def request(prompt: list[int], sampling: Sampling, context: int) -> dict[str, Any]:
    """The body for the engine's `/completion`; samplers in the order that transformers applies them."""
    return {
        "prompt": prompt,
        "n_predict": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": 0.0,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": context,
        "dry_multiplier": sampling.dry_multiplier or 0.0,
        "dry_base": dry.BASE,
        "dry_allowed_length": dry.ALLOWED,
        "dry_penalty_last_n": sampling.max_new_tokens,
        "samplers": ["penalties", "dry", "temperature", "top_k", "top_p"],
        "seed": sampling.seed,
        "cache_prompt": True,
        "return_tokens": True,
        "stream": True,
    }


def _serve(path: str, key: str, context: int, users: int, threads: int, cache_mib: int, cache_type: str) -> Any:
    try:
        import xllamacpp
    except ImportError:
        raise ModelError("llama.cpp is not installed", where=path, hint="pip install 'hearmeglm[llamacpp]'") from None
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.api_keys = [key]
    params.hostnames = ["127.0.0.1"]
    params.ui = False
    params.verbosity = -1
    params.n_ctx = context
    params.n_parallel = users
    params.kv_unified = True  # one pool of cells: a single long talk may use all of it
    params.cache_ram_mib = cache_mib
    # All cells of sliding-window layers too (some 50 MiB more for Gemma 3 270M): a talk goes on from any of its prefixes
    # without the up to 32 copies a talk that the engine would keep instead, which made a busy server grow.
    params.swa_full = True
    params.n_ctx_checkpoints = 0
    # Read, not mapped: weights are laid out anew for the processor, and a map would keep them in memory twice.
    params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    kind = {"f16": xllamacpp.ggml_type.GGML_TYPE_F16, "f32": xllamacpp.ggml_type.GGML_TYPE_F32}[cache_type]
    params.cache_type_k = params.cache_type_v = kind
    try:
        return xllamacpp.Server(params)
    except RuntimeError:
        raise ModelError(
            "expected a GGUF file that llama.cpp can run, found one it refuses (damaged, cut off or an unknown architecture)",
            where=path,
            hint="write or fetch it again",
        ) from None


def _reason(text: str) -> str:
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200]
