"""The llama.cpp backend on a tiny file: streaming, cancellation, several users, stop texts, and faults in one line."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("xllamacpp", reason="needs the `llamacpp` extra")
pytest.importorskip("sentencepiece")

from hearmeglm.chat.llamacpp_model import LlamaCppModel
from hearmeglm.chat.model import ChatModel, complete
from hearmeglm.chat.open import open_model
from hearmeglm.chat.text import lines
from hearmeglm.errors import ModelError
from hearmeglm.models.export import export
from hearmeglm.models.gguf_header import TEMPLATE_KEY, read_header
from hearmeglm.models.reference import ModelRef
from hearmeglm.recipe import Sampling
from hearmeglm.types import Message

USER = [Message("user", "我最近总是睡不好。")]


def sampling(**settings: Any) -> Sampling:
    return Sampling(**{"max_new_tokens": 12, **settings})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
    from family_models import gemma3

    folder = tmp_path_factory.mktemp("gguf")
    done = export(ModelRef("hf", "tiny", str(gemma3(folder / "base"))), folder / "out", "gguf", quants=["f16"])
    return done.folder / next(iter(done.files))


@pytest.fixture(scope="module")
def model(file: Path) -> LlamaCppModel:
    return LlamaCppModel(file)


def test_it_is_a_chat_model_with_the_template_of_the_file(model: LlamaCppModel, file: Path) -> None:
    assert isinstance(model, ChatModel)
    assert model.name == "tiny-f16"
    assert model.template.name == "gemma"
    assert TEMPLATE_KEY in read_header(file)
    assert open_model(str(file)).name == "tiny-f16"


def test_it_streams_and_counts_its_tokens(model: LlamaCppModel) -> None:
    chunks = list(model.stream(USER, sampling()))
    assert chunks[-1].finish_reason in ("stop", "length")
    assert all(c.finish_reason is None for c in chunks[:-1])
    assert 0 < sum(c.tokens for c in chunks) <= 12


def test_the_same_seed_says_the_same_and_another_something_else(model: LlamaCppModel) -> None:
    said = [complete(model, USER, sampling(temperature=2.0, seed=s)).text for s in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


def test_greedy_answers_do_not_depend_on_other_users(model: LlamaCppModel) -> None:
    talks = [[Message("user", f"我睡不好 {i}")] for i in range(8)]
    alone = [complete(model, t, sampling()).text for t in talks]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda t: complete(model, t, sampling()).text, talks)) == alone


def test_closing_the_stream_frees_the_engine(model: LlamaCppModel) -> None:
    stream = model.stream(USER, sampling(max_new_tokens=400, temperature=1.0))
    next(stream)
    stream.close()
    for _ in range(50):
        slots = model._http.get("/slots").json()
        if not any(s["is_processing"] for s in slots):
            break
        time.sleep(0.1)
    assert not any(s["is_processing"] for s in slots)


def test_a_stop_text_ends_the_reply_and_is_not_shown(model: LlamaCppModel) -> None:
    whole = complete(model, USER, sampling(max_new_tokens=40)).text
    stop = whole[len(whole) // 2 : len(whole) // 2 + 2]
    cut = complete(model, USER, sampling(max_new_tokens=40, stop=(stop,)))
    assert cut.text == whole[: whole.index(stop)].strip()
    assert cut.finish_reason == "stop"


def test_a_message_that_does_not_fit_is_refused_and_the_next_one_answered(model: LlamaCppModel) -> None:
    with pytest.raises(ModelError, match="too long"):
        complete(model, [Message("user", "睡" * 2000)], sampling())
    assert complete(model, USER, sampling()).tokens > 0


def test_the_engine_answers_only_with_the_key(model: LlamaCppModel) -> None:
    import httpx

    address = model._server.listening_address
    assert address.startswith("http://127.0.0.1:")
    body = {"prompt": [2], "n_predict": 1}
    assert httpx.post(f"{address}/completion", json=body, trust_env=False).status_code == 401


def test_a_file_that_is_no_gguf_or_is_cut_off_is_one_line(file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="expected a GGUF file"):
        LlamaCppModel(tmp_path / "a.gguf")
    (tmp_path / "b.gguf").write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ModelError, match="damaged or cut off"):
        LlamaCppModel(tmp_path / "b.gguf")
    (tmp_path / "c.gguf").write_bytes(file.read_bytes()[:-50_000])
    with pytest.raises(ModelError, match="damaged, cut off"):
        LlamaCppModel(tmp_path / "c.gguf")


def test_a_line_separator_inside_a_reply_does_not_break_the_stream() -> None:
    blocks = [
        'data: {"content":"a\u2028b\x85c'.encode()[:20],
        'data: {"content":"a\u2028b\x85c'.encode()[20:],
        b'"}\n\ndata: x\r\n',
        b"tail",
    ]
    assert list(lines(blocks)) == ['data: {"content":"a\u2028b\x85c"}', "", "data: x", "tail"]


def test_a_file_carries_the_multiplier_of_its_recipe(tmp_path: Path) -> None:
    from family_models import gemma3

    ref = ModelRef("hf", "tiny", str(gemma3(tmp_path / "base")), dry_multiplier=0.8)
    done = export(ref, tmp_path / "out", "gguf", quants=["f16"])
    own = LlamaCppModel(done.folder / next(iter(done.files)))
    assert own.dry_multiplier == pytest.approx(0.8)
    said = complete(own, USER, sampling(max_new_tokens=100)).text
    assert said == complete(own, USER, sampling(max_new_tokens=100, dry_multiplier=0.8)).text
    assert said != complete(own, USER, sampling(max_new_tokens=100, dry_multiplier=0)).text


def test_a_talk_may_not_take_the_room_of_the_others(file: Path) -> None:
    model = LlamaCppModel(file, context=512, talk=64, users=4)
    with pytest.raises(ModelError, match="at most 52 tokens"):
        next(model.stream([Message("user", "我最近总是睡不好。" * 40)], sampling()))
