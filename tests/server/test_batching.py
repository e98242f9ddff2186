"""Replies decoded together equal replies decoded alone, whoever comes, goes or draws."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hearmeglm.chat.model import complete
from hearmeglm.chat.transformers_model import TransformersModel
from hearmeglm.errors import ModelError
from hearmeglm.models.generate import prefill
from hearmeglm.models.load import load_model, load_tokenizer
from hearmeglm.models.template import load_template
from hearmeglm.recipe import Sampling
from hearmeglm.server.batching import BatchedModel
from hearmeglm.types import Message

sys.path.insert(0, str(Path(__file__).parents[1]))
from train.tiny import make_base

TALKS = [[Message("user", "hello " * n + str(n))] for n in (1, 9, 3, 17, 5, 2, 30, 4)]


def sampling(**fields: Any) -> Sampling:
    return Sampling(**{"max_new_tokens": 24, **fields})


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    base = str(make_base(tmp_path_factory.mktemp("base"), layers=2))
    return load_model(base, dtype="fp32", device="cpu"), load_tokenizer(base), load_template("gemma")


@pytest.fixture
def batched(parts: tuple[Any, Any, Any]) -> Iterator[BatchedModel]:
    model = BatchedModel(*parts, "tiny", rows=3, context=512)
    yield model
    model.close()


@pytest.fixture(scope="module")
def alone(parts: tuple[Any, Any, Any]) -> dict[int, str]:
    model = TransformersModel(*parts, "tiny")
    return {i: complete(model, talk, sampling()).text for i, talk in enumerate(TALKS)}


def test_together_is_as_alone(batched: BatchedModel, alone: dict[int, str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda t: complete(batched, t, sampling()).text, TALKS))
    assert replies == [alone[i] for i in range(len(TALKS))]


def test_a_seed_decides_whatever_the_neighbours(batched: BatchedModel) -> None:
    def draw(seed: int) -> str:
        return complete(batched, TALKS[0], sampling(temperature=1.5, seed=seed)).text

    first = draw(7)
    with ThreadPoolExecutor(6) as pool:
        crowd = list(pool.map(draw, (1, 7, 3, 7, 5, 6)))
    assert crowd[1] == crowd[3] == first
    assert len(set(crowd)) > 2


def test_who_leaves_frees_the_row(batched: BatchedModel, alone: dict[int, str]) -> None:
    streams = [batched.stream(TALKS[i], sampling(max_new_tokens=200)) for i in (1, 3, 6)]
    for stream in streams:
        next(stream)
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]
    assert complete(batched, TALKS[0], sampling()).text == alone[0]


def test_a_batch_that_fails_does_not_end_the_server(
    batched: BatchedModel, alone: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("hearmeglm.server.batching.argmax", lambda *_: 1 / 0)
        with pytest.raises(ModelError, match="the batch failed"):
            complete(batched, TALKS[0], sampling())
    assert complete(batched, TALKS[0], sampling()).text == alone[0]


def test_a_reply_that_cannot_be_drawn_fails_alone(
    batched: BatchedModel, alone: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hearmeglm.server.batching.choose", lambda *_: 1 / 0)
    with ThreadPoolExecutor(3) as pool:
        greedy = [pool.submit(complete, batched, TALKS[i], sampling()) for i in (0, 1)]
        drawn = pool.submit(complete, batched, TALKS[2], sampling(temperature=1.0))
        assert [reply.result().text for reply in greedy] == [alone[0], alone[1]]
        with pytest.raises(ModelError):
            drawn.result()
    assert complete(batched, TALKS[3], sampling()).text == alone[3]


def test_closed_it_refuses(parts: tuple[Any, Any, Any]) -> None:
    model = BatchedModel(*parts, "tiny", rows=2, context=512)
    model.close()
    with pytest.raises(ModelError, match="closed"):
        complete(model, TALKS[0], sampling())


def test_slots_that_cannot_be_started_fail_who_waits_and_are_tried_again(
    parts: tuple[Any, Any, Any], alone: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def full(*_: Any) -> Any:
        tries.append(1)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("hearmeglm.server.batching.use_slots", full)
        model = BatchedModel(*parts, "tiny", rows=2, context=512)
        with pytest.raises(ModelError, match="the batch failed"):
            complete(model, TALKS[0], sampling())
        time.sleep(0.1)
        assert len(tries) <= 2  # at the start, and for the reply: it does not spin
    assert complete(model, TALKS[0], sampling()).text == alone[0]
    model.close()


def test_prompts_are_run_together_up_to_a_bound(
    batched: BatchedModel, alone: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []

    def counted(model: Any, slots: Any, heads: list[list[int]], ends: list[int]) -> Any:
        together.append(len(heads))
        return prefill(model, slots, heads, ends)

    monkeypatch.setattr("hearmeglm.server.batching.prefill", counted)
    monkeypatch.setattr("hearmeglm.server.batching.PREFILL_TOKENS", 1, raising=False)
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda t: complete(batched, t, sampling()).text, TALKS[:3]))
    assert replies == [alone[i] for i in range(3)]
    assert together == [1, 1, 1]


def test_a_model_without_attention_backends_is_refused_at_once() -> None:
    with pytest.raises(ModelError, match="attention backends"):
        BatchedModel(SimpleNamespace(config=None), None, load_template("gemma"), "m")
