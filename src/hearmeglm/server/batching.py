"""Hugging Face weights for several users at once: one thread decodes every running talk together, token by token.

Continuous batching over the rows of `models.slots`: a new prompt is run in one packed pass and joins the next step, a reply
that ends or whose client left gives its row away at once. Each row has its own sampling and its own random generator.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any

import torch

from ..chat.transformers_model import TransformersModel
from ..errors import ModelError
from ..models.generate import PREFILL_TOKENS, check_model, prefill
from ..models.packed_linear import packed_linears
from ..models.sampling import argmax, choose, plain
from ..models.slots import Slots, use_slots
from ..recipe import Sampling

if TYPE_CHECKING:
    from ..models.template import Template


@dataclass(eq=False)
class _Job:
    """One reply: its prompt, and the tokens on their way to the thread that asked."""

    prompt: list[int]
    sampling: Sampling
    generator: torch.Generator | None
    out: SimpleQueue[int | BaseException | None] = field(default_factory=SimpleQueue)
    ids: list[int] = field(default_factory=list)
    cancelled: bool = False


class BatchedModel(TransformersModel):
    """A `TransformersModel` whose replies are decoded together.

    Args:
        rows: most replies at the same time.
        context: longest prompt and reply together, in tokens; memory for `rows` times as many is kept.

    Raises:
        ModelError: the model has no attention backends (`stream` too: the batch failed, or the model is closed).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        template: Template,
        name: str,
        *,
        rows: int = 8,
        context: int = 2048,
        dry_multiplier: float = 0.0,
    ) -> None:
        check_model(model, (), Sampling(temperature=0))
        super().__init__(model, tokenizer, template, name, dry_multiplier=dry_multiplier)
        self._lock = nullcontext()  # type: ignore[assignment]  # several talks at a time is the point
        self.context = self._capacity = min(context, self.context or context)
        self.rows = rows
        self._stops = frozenset(template.stop_ids(tokenizer))
        self._waiting: deque[_Job] = deque()
        self._changed = Condition()
        self._closed = False
        self._thread = Thread(target=self._run, name="batched-model", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; replies on their way break off with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=30)

    def _tokens(self, prompt: list[int], sampling: Sampling) -> Iterator[int | None]:
        generator = None
        if sampling.temperature > 0:
            generator = torch.Generator(self.model.device).manual_seed(sampling.seed)
        job = _Job(prompt, sampling, generator)
        with self._changed:
            if self._closed:
                raise ModelError("the model is closed")
            self._waiting.append(job)
            self._changed.notify()
        try:
            for _ in range(sampling.max_new_tokens):
                token = job.out.get()
                if isinstance(token, BaseException):
                    raise ModelError("the batch failed") from token
                yield token
                if token is None:
                    return
        finally:
            job.cancelled = True

    def _run(self) -> None:
        active: list[_Job] = []
        while not self._closed:
            active, started = [], False
            try:
                slots = Slots(self.rows, self._capacity)
                with ExitStack() as stack:
                    stack.enter_context(torch.inference_mode())
                    stack.enter_context(use_slots(self.model))
                    stack.enter_context(packed_linears(self.model, self.rows))
                    started = True
                    while self._admit(slots, active):
                        self._step(slots, active)
            except Exception as err:  # one bad batch must not end the server: its replies fail, the next ones work
                if not started:
                    active = self._next(len(self._waiting))  # else they would wait for ever
                for job in active:
                    job.out.put(err)
            if not started:
                self._wait()  # the next to come makes it try again
        for job in [*active, *self._waiting]:
            job.out.put(ModelError("the model is closed"))

    def _admit(self, slots: Slots, active: list[_Job]) -> bool:
        """Wait for work, drop who left, run new prompts; False when closed."""
        for i in reversed([i for i, job in enumerate(active) if job.cancelled]):
            _leave(slots, active, i)
        if not active:
            self._wait()
        if self._closed:
            return False
        if new := self._next(self.rows - len(active), PREFILL_TOKENS):
            # before the pass: if it fails these replies fail with it
            first = len(active)
            active += new
            logits = prefill(self.model, slots, [job.prompt for job in new], _ends(new))
            start = 0
            for job in new:
                slots.admit(start, len(job.prompt))
                start += len(job.prompt)
            self._advance(slots, active, first, logits)
        return True

    def _wait(self) -> None:
        """Until there is work, or no more to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._waiting))

    def _next(self, most: int, tokens: float = math.inf) -> list[_Job]:
        """Take up to `most` waiting jobs, together of at most `tokens` prompt tokens; one longer than that goes alone."""
        new: list[_Job] = []
        with self._changed:
            while self._waiting and len(new) < most:
                job = self._waiting[0]
                if not job.cancelled:
                    tokens -= len(job.prompt)
                    if new and tokens < 0:
                        break
                    new.append(job)
                self._waiting.popleft()
        return new

    def _step(self, slots: Slots, active: list[_Job]) -> None:
        if not active:
            return
        position = slots.decode(self.model.device)
        ids = torch.tensor([[job.ids[-1]] for job in active], device=self.model.device)
        out = self.model(input_ids=ids, position_ids=position, use_cache=False, slots=slots)
        self._advance(slots, active, 0, out.logits[:, -1])

    def _advance(self, slots: Slots, active: list[_Job], first: int, logits: torch.Tensor) -> None:
        """Give the rows from `first` on their next token; rows that end, or whose sampling failed, leave."""
        over = []
        for i, token in enumerate(self._choose(active[first:], logits), first):
            job = active[i]
            if isinstance(token, Exception):
                job.out.put(token)
                over.append(i)
                continue
            ended = token in self._stops
            job.out.put(None if ended else token)
            job.ids.append(token)
            if ended or len(job.ids) >= job.sampling.max_new_tokens:
                over.append(i)
        for i in reversed(over):
            _leave(slots, active, i)

    def _choose(self, jobs: list[_Job], logits: torch.Tensor) -> list[int | Exception]:
        """The next token of each row, or why its own sampling failed, which is no concern of the other rows."""
        tokens: list[int | Exception] = [0] * len(jobs)
        greedy = [i for i, job in enumerate(jobs) if plain(job.sampling)]
        if greedy:
            rows = logits if len(greedy) == len(jobs) else logits[greedy]
            for i, token in zip(greedy, argmax(rows).tolist(), strict=True):
                tokens[i] = token
        for i in sorted(set(range(len(jobs))) - set(greedy)):
            job = jobs[i]
            try:
                tokens[i] = choose(logits[i : i + 1], [job.prompt], [job.ids], job.sampling, [job.generator])[0]
            except Exception as err:
                tokens[i] = err
        return tokens


def _leave(slots: Slots, active: list[_Job], row: int) -> None:
    slots.leave(row)
    active[row] = active[-1]
    active.pop()


def _ends(jobs: list[_Job]) -> list[int]:
    """Position of each prompt's last token in the packed pass."""
    ends, at = [], -1
    for job in jobs:
        at += len(job.prompt)
        ends.append(at)
    return ends
