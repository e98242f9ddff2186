"""Packed equals unpacked, chunked equals full, fused equals plain: loss and gradients within 1e-5 in float32, per model family."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hearmeglm.models.collate import pack, pad
from hearmeglm.models.engine import accelerate_training, checkpoint_layers
from hearmeglm.models.template import IGNORE, Encoded

SMALL: dict[str, Any] = {
    "vocab_size": 700, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def family(name: str) -> Any:
    import transformers as t

    torch.manual_seed(0)
    if name == "gemma3":
        config = t.Gemma3TextConfig(
            **{**SMALL, "num_key_value_heads": 1},
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=12,
            layer_types=["sliding_attention", "full_attention"],
        )
        return t.Gemma3ForCausalLM(config)
    if name == "glm":  # the native class of a converted ChatGLM3
        return t.GlmForCausalLM(
            t.GlmConfig(**SMALL, head_dim=8, attention_bias=True, rms_norm_eps=1e-5, tie_word_embeddings=False)
        )
    if name == "qwen2":
        return t.Qwen2ForCausalLM(t.Qwen2Config(**SMALL))
    if name == "qwen3":
        return t.Qwen3ForCausalLM(t.Qwen3Config(**SMALL, head_dim=8))
    if name == "mistral":
        return t.MistralForCausalLM(t.MistralConfig(**SMALL, head_dim=8, sliding_window=12))
    if name == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**SMALL))
    return t.Gemma2ForCausalLM(t.Gemma2Config(**SMALL, head_dim=8, query_pre_attn_scalar=8, sliding_window=12))


def with_lora(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    targets = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "down_proj",
        *(["gate_up_proj"] if hasattr(model.model.layers[0].mlp, "gate_up_proj") else ["gate_proj", "up_proj"]),
    ]
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=targets))
    draw = torch.Generator().manual_seed(1)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data = torch.randn(p.shape, generator=draw) * 0.1
    return model.train()


def examples() -> list[Encoded]:
    draw = torch.Generator().manual_seed(2)
    out = []
    for n in (7, 40, 3, 25):
        ids = torch.randint(3, 700, (n,), generator=draw).tolist()
        out.append(Encoded(ids, [IGNORE if i % 3 == 0 else x for i, x in enumerate(ids)]))
    return out


def gradients(model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("name", ["gemma3", "glm", "qwen2", "qwen3", "mistral", "llama"])
def test_fast_equals_plain(name: str, full: bool) -> None:
    model = family(name).train() if full else with_lora(family(name))
    loss, grads = gradients(model, pad(examples(), 0))
    engine = accelerate_training(model)
    assert engine.loss
    assert engine.packing
    assert engine.reasons == ()
    assert full or engine.fused >= 2 * 7
    for batch in (pad(examples(), 0), pack(examples())):
        if "lengths" in batch:
            with engine.training(model):
                fast, fast_grads = gradients(model, batch)
        else:
            fast, fast_grads = gradients(model, batch)
        torch.testing.assert_close(fast, loss, rtol=1e-5, atol=1e-5)
        assert fast_grads.keys() == grads.keys()
        for n in grads:
            torch.testing.assert_close(fast_grads[n], grads[n], rtol=1e-5, atol=1e-5, msg=lambda m, n=n: f"{n}: {m}")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_checkpointing_changes_nothing() -> None:
    model = with_lora(family("gemma3"))
    engine = accelerate_training(model)
    with engine.training(model):
        loss, grads = gradients(model, pack(examples()))
        checkpoint_layers(model)
        again, again_grads = gradients(model, pack(examples()))
    assert torch.equal(loss, again)
    assert all(torch.equal(grads[n], again_grads[n]) for n in grads)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_architecture_that_does_not_fit_trains_the_plain_way_and_says_so() -> None:
    soft = with_lora(family("gemma2"))  # soft-capped attention scores: cannot be packed, but the loss fits
    engine = accelerate_training(soft)
    assert engine.loss
    assert not engine.packing
    assert "soft-capped" in engine.reasons[0]

    biased = family("llama")
    biased.lm_head = torch.nn.Linear(32, 700, bias=True)
    want = biased(**pad(examples(), 0)).loss
    engine = accelerate_training(biased)
    assert not engine.loss
    assert "has a bias" in engine.reasons[0]
    assert torch.equal(biased(**pad(examples(), 0)).loss, want)


def test_without_labels_the_model_answers_as_before() -> None:
    model = family("gemma3").eval()
    ids = torch.tensor([[5, 6, 7]])
    want = model(input_ids=ids).logits
    accelerate_training(model)
    assert torch.equal(model(input_ids=ids).logits, want)
