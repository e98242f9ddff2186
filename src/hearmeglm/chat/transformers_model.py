"""A ChatModel over Hugging Face weights on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING

from ..models.load import load_model, load_tokenizer
from ..models.reference import ModelRef
from ..models.template import Template, find_template
from ..recipe import Sampling
from ..types import Message
from .model import Chunk
from .text import StopFilter

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TransformersModel:
    """Local weights; one reply at a time (a lock), streamed token by token with a KV cache."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        name: str,
        *,
        dry_multiplier: float = 0.0,
    ) -> None:
        self.model, self.tokenizer, self.template, self.name = model, tokenizer, template, name
        self.context: int | None = getattr(model.config, "max_position_embeddings", None)
        self.dry_multiplier = dry_multiplier
        self._lock = Lock()

    @classmethod
    def load(cls, ref: ModelRef, *, dtype: str = "auto", device: str | None = None) -> TransformersModel:
        """Load base, adapter (merged), tokenizer and template; raises ModelError if one of them is missing."""
        tokenizer = load_tokenizer(ref.source, trust_remote_code=ref.trust_remote_code)
        template = find_template(ref.template, tokenizer)
        model = load_model(
            ref.source, adapter=ref.adapter, dtype=dtype, device=device, trust_remote_code=ref.trust_remote_code
        )
        return cls(model, tokenizer, template, ref.name, dry_multiplier=ref.dry_multiplier)

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """See `ChatModel.stream`."""
        sampling = sampling.settled(self.dry_multiplier)
        room = self.context - sampling.max_new_tokens if self.context else None
        prompt = self.template.encode_prompt(messages, self.tokenizer, room)
        stop = StopFilter((*self.template.stop_strings, *sampling.stop))
        ids: list[int] = []
        shown, read = 0, len(prompt)
        finish = "length"
        with self._lock:
            for token in self._tokens(prompt, sampling):
                if token is None:
                    finish = "stop"
                    break
                ids.append(token)
                text = self.tokenizer.decode(ids, skip_special_tokens=True)
                if text.endswith("\ufffd"):  # in the middle of a character
                    continue
                piece = stop.push(text[shown:])
                shown = len(text)
                yield Chunk(piece, 1, None, read)
                read = 0
                if stop.hit:
                    finish = "stop"
                    break
        yield Chunk(stop.flush(), 0, finish, read)

    def _tokens(self, prompt: list[int], sampling: Sampling) -> Iterator[int | None]:
        """Yield token ids, and None where the model ended its reply by itself."""
        import torch
        from transformers import DynamicCache

        from ..models.sampling import choose

        stops = set(self.template.stop_ids(self.tokenizer))
        cache = DynamicCache(config=self.model.config)
        device = self.model.device
        generator = torch.Generator(device).manual_seed(sampling.seed)
        ids, reply = prompt, list[int]()
        for _ in range(sampling.max_new_tokens):
            with torch.inference_mode():
                batch = torch.tensor([ids], device=device)
                logits = self.model(input_ids=batch, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[
                    :, -1
                ]
                (token,) = choose(logits, [prompt], [reply], sampling, [generator])
            if token in stops:
                yield None
                return
            yield token
            ids = [token]
            reply.append(token)
