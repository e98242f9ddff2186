"""Training on a GPU: tokens/s, share of the card's bf16 rate, peak memory, against full logits, padding and checkpointing.

    python benchmarks/train_gpu.py [--json]

Two models: the embedded Gemma 3 270M's shape and ChatGLM3-6B's (native Glm class), both with random weights, so that nothing need be there but transformers, peft and a card.
Dialogues are random ids of the lengths of real ones (200 to 900 tokens, 56 % supervised), batch 4.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from typing import Any

import torch


def shapes(name: str) -> Any:
    import transformers as t

    if name == "glm-6b":
        config = t.GlmConfig(
            vocab_size=65024, hidden_size=4096, intermediate_size=13696, num_hidden_layers=28, num_attention_heads=32, num_key_value_heads=2,
            head_dim=128, attention_bias=True, rms_norm_eps=1e-5, tie_word_embeddings=False, pad_token_id=0, max_position_embeddings=8192,
        )  # fmt: skip
        return t.GlmForCausalLM, config
    config = t.Gemma3TextConfig(
        vocab_size=262144, hidden_size=640, intermediate_size=2048, num_hidden_layers=18, num_attention_heads=4, num_key_value_heads=1,
        head_dim=256, query_pre_attn_scalar=256, sliding_window=512, pad_token_id=0,
    )  # fmt: skip
    return t.Gemma3ForCausalLM, config


def measure(name: str, ours: bool, steps: int) -> dict[str, Any]:
    from peft import LoraConfig, get_peft_model

    from hearmeglm.models.collate import pack, pad
    from hearmeglm.models.engine import accelerate_training, checkpoint_layers
    from hearmeglm.models.template import IGNORE, Encoded

    make, config = shapes(name)
    torch.manual_seed(0)
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = make(config)
        torch.set_default_dtype(torch.float32)
    model.requires_grad_(False)
    model = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
    ).train()
    engine = None
    if ours:
        engine = accelerate_training(model)
    else:
        checkpoint_layers(model)
        model.enable_input_require_grads()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-5)
    draw = random.Random(0)
    batches = []
    for _ in range(steps + 2):
        rows = []
        for _ in range(4):
            ids = [draw.randrange(3, config.vocab_size) for _ in range(draw.randrange(200, 900))]
            rows.append(Encoded(ids, [x if draw.random() < 0.56 else IGNORE for x in ids]))
        batches.append(rows)

    def step(rows: list[Encoded]) -> None:
        batch = {
            k: v.cuda() if torch.is_tensor(v) else v
            for k, v in (pack(rows) if ours and engine.packing else pad(rows, 0)).items()
        }
        with torch.autocast("cuda", torch.bfloat16, enabled=not ours):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    from contextlib import nullcontext

    with engine.training(model) if engine else nullcontext():
        for rows in batches[:2]:
            step(rows)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        for rows in batches[2:]:
            step(rows)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - begun
    tokens = sum(len(e.input_ids) for rows in batches[2:] for e in rows)
    learnt = sum(y != IGNORE for rows in batches[2:] for e in rows for y in e.labels[1:])
    head = config.vocab_size * config.hidden_size
    body = sum(
        m.weight.numel()
        for n, m in model.named_modules()
        if type(m) is torch.nn.Linear and "lora_" not in n and "lm_head" not in n
    )
    return {
        "model": name, "side": "ours" if ours else "baseline", "tokens_per_second": tokens / seconds, "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        "tflops": 4 * (body * tokens + head * learnt) / seconds / 1e12, "engine": str(engine),
    }  # fmt: skip


def gemm_tflops() -> float:
    x = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        x @ x
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(20):
        x @ x
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - begun) / 1e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="steps a run (default 8)")
    parser.add_argument("--json", action="store_true", help="print JSON lines only")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs an NVIDIA GPU; on a CPU: python benchmarks/train.py")
    ceiling = gemm_tflops()
    for name in ("gemma-270m", "glm-6b"):
        for ours in (False, True):
            row = measure(name, ours, args.steps) | {"card": torch.cuda.get_device_name(), "gemm_tflops": ceiling}
            row["mfu"] = row["tflops"] / ceiling
            print(
                json.dumps(row)
                if args.json
                else f"{name:12}{row['side']:10}{row['tokens_per_second']:10.0f} tokens/s  {row['peak_gb']:6.1f} GB  {row['mfu']:.0%} of {ceiling:.0f} TFLOP/s",
                flush=True,
            )
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
