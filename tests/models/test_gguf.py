"""GGUF files: parity with the native model in llama.cpp, quantisation, vocabulary, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from hearmeglm.errors import ModelError
from hearmeglm.models.chatglm3 import convert_chatglm3
from hearmeglm.models.gguf_arch import find_arch, rope_factors
from hearmeglm.models.gguf_header import read_header
from hearmeglm.models.gguf_quantize import QUANTS, Kind, choose, find_quant, quantize
from hearmeglm.models.gguf_write import write_gguf
from hearmeglm.models.load import load_tokenizer
from hearmeglm.models.template import find_template, load_template
from hearmeglm.types import Message

SHARED = Path(__file__).parents[2].parent / "shared" / "models"
GOLDEN = SHARED / "chatglm3_golden"


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not GOLDEN.is_dir():
        pytest.skip("needs ../shared/models/chatglm3_golden")
    target = tmp_path_factory.mktemp("golden") / "native"
    convert_chatglm3(GOLDEN / "tiny_full_vocab", target, tokenizer=SHARED / "chatglm3" / "tokenizer.model")
    return target


def write(native: Path, out: Path, quant: str) -> Path:
    write_gguf(native, out, load_template("chatglm3"), load_tokenizer(str(native)), quant=quant)
    return out


@pytest.fixture(scope="module")
def engine(native: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("xllamacpp", reason="needs the `llamacpp` extra")
    from hearmeglm.chat.llamacpp_model import LlamaCppModel

    return LlamaCppModel(write(native, tmp_path_factory.mktemp("f32") / "f32.gguf", "f32"), cache_type="f32")


def test_llama_cpp_says_what_the_remote_code_said(engine: Any) -> None:
    from safetensors.torch import load_file

    golden = load_file(GOLDEN / "tiny_full_vocab" / "golden.safetensors")
    prompts = {p: golden[f"{p}.input_ids"][0] for p in ("single", "chat")}
    keep = golden["leftpad.attention_mask"].bool()
    prompts |= {f"leftpad{i}": golden["leftpad.input_ids"][i][keep[i]] for i in range(3)}
    want = {p: golden[f"{p}.greedy_ids"][0] for p in ("single", "chat")}
    want |= {f"leftpad{i}": golden["leftpad.greedy_ids"][i] for i in range(3)}
    for name, ids in prompts.items():
        body = {"prompt": ids.tolist(), "n_predict": 20, "temperature": 0, "return_tokens": True}
        said = engine._post("/completion", body)["tokens"]
        expected = want[name].tolist()
        ends = [i for i, t in enumerate(expected) if t in engine._stops]
        expected = expected[: ends[0]] if ends else expected
        assert said[: len(expected)] == expected, name


def test_llama_cpp_cuts_every_text_as_the_original_does(engine: Any) -> None:
    for line in (GOLDEN / "tokenizer_texts.jsonl").read_text(encoding="utf-8").split("\n"):
        if line:
            row = json.loads(line)
            assert engine.tokenizer(row["text"])["input_ids"] == row["ids_without_prefix"], row["text"]


def test_llama_cpp_gets_the_ids_of_build_chat_input(engine: Any) -> None:
    for line in (GOLDEN / "tokenizer_chats.jsonl").read_text(encoding="utf-8").split("\n"):
        row = json.loads(line) if line else {"messages": [{"tools": 1}]}
        if any(m.get("metadata") or "tools" in m or m["role"] == "observation" for m in row["messages"]):
            continue
        messages = [Message(m["role"], m["content"]) for m in row["messages"]]
        assert engine.template.encode_prompt(messages, engine.tokenizer) == row["ids"]


@pytest.mark.parametrize("quant", ["f16", "q8_0", "q5_0", "q4_0", "q4_k_m"])
def test_every_form_is_what_it_says_and_close_to_the_weights(native: Path, tmp_path: Path, quant: str) -> None:
    from hearmeglm.models.merge import Weights

    path = write(native, tmp_path / "x.gguf", quant)
    assert read_header(path)["general.file_type"] == QUANTS[quant].file
    tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
    weights = Weights(native)
    worst = {"f16": 1e-3, "q8_0": 0.01, "q5_0": 0.08, "q4_0": 0.16, "q4_k_m": 0.16}[quant]
    for name, old in (
        ("blk.1.attn_q.weight", "model.layers.1.self_attn.q_proj.weight"),
        ("output.weight", "lm_head.weight"),
    ):
        want = weights.load(old)
        got = gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type)
        assert np.abs(got - want).mean() / np.abs(want).mean() < worst
    assert tensors["output_norm.weight"].tensor_type == Kind.F32


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q5_1, Kind.Q5_0, Kind.Q4_1, Kind.Q4_0])
def test_ggmls_quantiser_and_the_gguf_package_write_the_same_bytes(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp", reason="needs the `llamacpp` extra")
    from hearmeglm.models import gguf_quantize

    value = np.random.default_rng(0).standard_normal((16, 256)).astype(np.float32)
    native = quantize(value, kind)
    monkeypatch.setattr(gguf_quantize, "_ggml", lambda: None)
    assert np.array_equal(native, quantize(value, kind))
    with pytest.raises(ModelError, match="needs ggml's quantiser"):
        quantize(value, Kind.Q4_K)


def test_rows_that_do_not_fit_a_block_fall_back_as_in_llama_cpp() -> None:
    preset = find_quant("Q4_K_M")
    assert choose(preset, "blk.0.ffn_gate.weight", (2048, 640), 18, True) == Kind.Q5_0
    assert choose(preset, "blk.0.ffn_gate.weight", (640, 2048), 18, True) == Kind.Q4_K
    assert choose(preset, "blk.0.ffn_down.weight", (640, 2048), 18, True) == Kind.Q6_K
    assert choose(preset, "token_embd.weight", (1000, 640), 18, True) == Kind.Q8_0
    assert choose(preset, "blk.0.attn_norm.weight", (640,), 18, True) == Kind.F32
    assert choose(find_quant("q8_0"), "blk.0.attn_q.weight", (8, 20), 18, False) == Kind.F16
    with pytest.raises(ModelError, match="expected a quantisation"):
        find_quant("q9")


def test_what_llama_cpp_would_compute_differently_is_refused() -> None:
    glm = {"model_type": "glm", "num_attention_heads": 4, "head_dim": 16, "hidden_size": 64, "num_hidden_layers": 2}
    assert find_arch(glm).name == "chatglm"
    with pytest.raises(ModelError, match="must be equal"):
        find_arch({**glm, "hidden_size": 48})
    gemma = {**glm, "model_type": "gemma3_text", "layer_types": ["full_attention"] * 2}
    with pytest.raises(ModelError, match="6th layer"):
        find_arch(gemma)
    with pytest.raises(ModelError, match="no GGUF writer"):
        find_arch({"model_type": "mamba"})


def test_llama_3s_frequencies_are_those_of_transformers() -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    config = {"head_dim": 128, "hidden_size": 4096, "num_attention_heads": 32, "rope_parameters": rope}
    theirs, _ = ROPE_INIT_FUNCTIONS["llama3"](LlamaConfig(**config), "cpu")
    factors = rope_factors(config)
    assert factors is not None
    plain = 1 / 500000.0 ** (np.arange(0, 128, 2) / 128)
    np.testing.assert_allclose(plain / factors, theirs.numpy(), rtol=1e-5)
    assert rope_factors({**config, "rope_parameters": {"rope_type": "default", "rope_theta": 1.0}}) is None


def test_the_head_is_read_without_the_vocabulary(native: Path, tmp_path: Path) -> None:
    head = read_header(write(native, tmp_path / "x.gguf", "q8_0"))
    assert head["general.architecture"] == "chatglm"
    assert head["tokenizer.ggml.tokens"] == 65024
    assert (
        head["tokenizer.ggml.eos_token_id"],
        head["tokenizer.ggml.eot_token_id"],
        head["tokenizer.ggml.eom_token_id"],
    ) == (2, 64795, 64797)
    assert find_template("auto", load_tokenizer(str(native))).name == json.loads(head["hearme.template"])["name"]
