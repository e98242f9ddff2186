"""The converted ChatGLM3 against reference values of the published remote code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hearmeglm.errors import ModelError
from hearmeglm.models.chatglm3 import DEFAULTS, convert_chatglm3, expected_shapes, native_config
from hearmeglm.models.chatglm3_adapter import convert_adapter
from hearmeglm.models.convert_io import open_checkpoint
from hearmeglm.models.load import load_model, load_tokenizer
from hearmeglm.models.template import find_template
from hearmeglm.types import Message

SHARED = Path(__file__).parents[2].parent / "shared" / "models"
GOLDEN = SHARED / "chatglm3_golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs ../shared/models/chatglm3_golden")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / name).read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not GOLDEN.is_dir():
        pytest.skip("needs ../shared/models/chatglm3_golden")
    target = tmp_path_factory.mktemp("golden") / "native"
    done = convert_chatglm3(GOLDEN / "tiny_full_vocab", target, tokenizer=SHARED / "chatglm3" / "tokenizer.model")
    assert done.warnings == ()
    return target


@pytest.fixture(scope="module")
def golden() -> Any:
    from safetensors.torch import load_file

    return load_file(GOLDEN / "tiny_full_vocab" / "golden.safetensors")


@pytest.fixture(scope="module")
def tokenizer(native: Path) -> Any:
    return load_tokenizer(str(native))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("prompt", ["single", "chat", "leftpad"])
def test_logits_loss_and_greedy_ids_are_the_remote_codes(
    native: Path, golden: Any, prompt: str, attention: str
) -> None:
    import torch

    model = load_model(str(native), dtype="fp32", device="cpu", attn_implementation=attention)
    g = {k.removeprefix(f"{prompt}."): v for k, v in golden.items() if k.startswith(f"{prompt}.")}
    keep = g["attention_mask"].bool()
    with torch.no_grad():
        out = model(**{k: g[k] for k in ("input_ids", "attention_mask", "position_ids", "labels")})
    near = {"atol": 1e-4, "rtol": 0}
    torch.testing.assert_close(out.logits[..., golden["vocab_cols"]][keep], g["logits_cols"][keep], **near)
    torch.testing.assert_close(out.logits[:, -1], g["logits_last"], **near)
    torch.testing.assert_close(out.logits.logsumexp(-1)[keep], g["logsumexp"][keep], **near)
    torch.testing.assert_close(out.loss.reshape(1), g["loss"], **near)
    made = model.generate(
        input_ids=g["input_ids"], attention_mask=g["attention_mask"], max_new_tokens=20, do_sample=False, eos_token_id=None,
        temperature=None, top_p=None,
    )  # fmt: skip
    assert made[:, g["input_ids"].shape[1] :].equal(g["greedy_ids"])


@pytest.mark.parametrize("merge", [False, True])
def test_an_adapter_of_the_remote_code_gives_the_same_logits(
    native: Path, golden: Any, tmp_path: Path, merge: bool
) -> None:
    import torch
    from safetensors.torch import load_file

    assert convert_adapter(GOLDEN / "lora_qkv", tmp_path / "adapter", native) == ["k_proj", "q_proj", "v_proj"]
    want = load_file(GOLDEN / "lora_qkv" / "golden.safetensors")
    model = load_model(str(native), adapter=tmp_path / "adapter", merge=merge, dtype="fp32", device="cpu")
    mask = golden["leftpad.attention_mask"]
    with torch.no_grad():
        logits = model(
            input_ids=golden["leftpad.input_ids"], attention_mask=mask, position_ids=golden["leftpad.position_ids"]
        ).logits
    torch.testing.assert_close(
        logits[..., golden["vocab_cols"]][mask.bool()], want["logits_cols"][mask.bool()], atol=1e-4, rtol=0
    )


def test_every_text_has_the_original_ids_and_comes_back(tokenizer: Any) -> None:
    for row in rows("tokenizer_texts.jsonl"):
        assert tokenizer(row["text"], split_special_tokens=True)["input_ids"] == row["ids"], row["text"]
        bare = tokenizer(row["text"], split_special_tokens=True, add_special_tokens=False)["input_ids"]
        assert bare == row["ids_without_prefix"]
        assert tokenizer.decode(bare) == row["decoded"]


def test_sop_and_eop_are_not_found_inside_words(tokenizer: Any) -> None:
    assert 64793 not in tokenizer("people of philosophy", add_special_tokens=False)["input_ids"]


def test_chats_have_build_chat_inputs_ids(tokenizer: Any) -> None:
    template = find_template("auto", tokenizer)
    assert template.name == "chatglm3"
    for row in rows("tokenizer_chats.jsonl"):
        by_jinja = tokenizer.apply_chat_template(
            row["messages"], add_generation_prompt=row["add_generation_prompt"], return_dict=False
        )
        assert by_jinja == row["ids"]
        if any(m.get("metadata") or "tools" in m or m["role"] == "observation" for m in row["messages"]):
            continue  # tools are not part of a counselling talk; the exported Jinja knows them
        assert (
            template.encode_prompt([Message(m["role"], m["content"]) for m in row["messages"]], tokenizer) == row["ids"]
        )


def test_training_labels_follow_the_official_rule(tokenizer: Any) -> None:
    template = find_template("auto", tokenizer)
    for row in rows("training_examples.jsonl"):
        encoded = template.encode([Message(m["role"], m["content"]) for m in row["messages"]], tokenizer)
        assert encoded.input_ids == row["input_ids"]
        assert encoded.labels == row["labels"]


def test_the_published_index_and_config_give_the_published_size() -> None:
    if not (SHARED / "chatglm3" / "config.json").is_file():
        pytest.skip("needs ../shared/models/chatglm3")
    from hearmeglm.files import read_json

    old = {**DEFAULTS, **read_json(SHARED / "chatglm3" / "config.json")}
    shapes = expected_shapes(native_config(old, "config.json"))
    assert len(shapes) == 311
    total = read_json(SHARED / "chatglm3" / "model.safetensors.index.json")["metadata"]["total_size"]
    numbers = 0
    for shape in shapes.values():
        size = 1
        for n in shape:
            size *= n
        numbers += size
    assert 2 * numbers + 64 == total == 12_487_168_064  # 32 rotary frequencies are recomputed, not carried


def test_the_native_class_has_exactly_these_tensors(native: Path) -> None:
    model = load_model(str(native), dtype="fp32", device="cpu")
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == {
        k: f.specs[k].shape for k, f in open_checkpoint(native).items()
    }
    assert model.generation_config.eos_token_id == [2, 64795, 64797]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("quantization_bit", 4, "quantised"),
        ("pre_seq_len", 128, "P-Tuning"),
        ("add_bias_linear", True, "biases"),
        ("apply_residual_connection_post_layernorm", True, "residual"),
        ("rmsnorm", False, "RMSNorm"),
        ("post_layer_norm", False, "final norm"),
        ("multi_query_attention", False, "ordered"),
        ("position_encoding_2d", True, "first ChatGLM-6B"),
        ("model_type", "llama", "expected model_type chatglm"),
    ],
)
def test_what_has_no_native_equal_is_refused_with_the_reason(key: str, value: Any, reason: str) -> None:
    fine = {**DEFAULTS, "multi_query_attention": True}
    assert native_config(fine, "config.json")["model_type"] == "glm"
    with pytest.raises(ModelError, match=reason):
        native_config({**fine, key: value}, "config.json")
