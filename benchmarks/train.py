"""Training speed and memory against a faithful baseline of the incumbent's way (LLaMA-Factory's settings, measured in docs/design/training.md).

    python benchmarks/train.py            no arguments needed; about five minutes on two cores
    python benchmarks/train.py --json     the last line is one JSON object

Both sides train Gemma 3 270M with LoRA (rank 8, alpha 16, all linear layers), AdamW, learning rate 5e-5, bf16, cutoff 1024, on the same micro-batches of 4 with accumulation 2.
The baseline pads to the longest, checkpoints gradients, runs under bf16 autocast and makes the full logits; ours is what `hearme train` does.
Each side runs in its own process, by turns; tokens are real tokens (no padding), seconds those of the optimizer steps.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH, ACCUMULATION, CUTOFF, RANK, ALPHA, RATE, SEED = 4, 2, 1024, 8, 16, 5e-5, 42
SIDES = ("baseline", "ours")
SLOW = 250
"""GFLOP/s of the bf16 multiplication below which one optimizer step a run has to do, to stay within ten minutes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="starter", help="base model (default: the embedded one)")
    parser.add_argument(
        "--steps", type=int, default=0, help="optimizer steps a run (default: 2, or 1 on a slow or busy machine)"
    )
    parser.add_argument("--rounds", type=int, default=2, help="runs of each side, by turns (default 2)")
    parser.add_argument(
        "--budget", type=float, default=540, help="start no further round after so many seconds (default 540)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        run_side(args.side, args.work, args.base)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = compare(args, Path(folder))
    print(json.dumps(result, ensure_ascii=False) if args.json else _table(result))


def compare(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    started = time.perf_counter()
    rate = gemm_rate()
    steps = args.steps or (2 if rate > SLOW else 1)
    name, batches = micro_batches(args.base, steps)
    (work / "batches.json").write_text(json.dumps(batches))
    _say(
        f"{name}: {sum(len(ids) for b in batches for ids, _ in b)} tokens in {len(batches)} micro-batches; bf16 GEMM {rate:.0f} GFLOP/s"
    )
    runs: dict[str, list[dict[str, Any]]] = {s: [] for s in SIDES}
    longest = 0.0
    for i in range(args.rounds):
        if i and time.perf_counter() - started + longest > args.budget:
            _say("the time is up: no further round")
            break
        begun = time.perf_counter()
        for side in SIDES:
            subprocess.run(
                [sys.executable, __file__, "--side", side, "--work", str(work), "--base", args.base],
                check=True,
                stdout=sys.stderr,
            )
            runs[side].append(json.loads((work / f"{side}.json").read_text()))
            _say(
                f"round {i + 1} {side}: {runs[side][-1]['tokens_per_second']:.0f} tokens/s, peak {runs[side][-1]['peak_rss_gb']:.2f} GB, losses {runs[side][-1]['losses']}"
            )
        longest = max(longest, time.perf_counter() - begun)
    out: dict[str, Any] = {"speed_ratio": 0.0, "memory_ratio": 0.0, "dataset": name}
    for side in SIDES:
        median = sorted(runs[side], key=lambda r: r["seconds"])[len(runs[side]) // 2]
        out[side] = {
            **median,
            "gemm_share": median["gflop_needed"] / median["seconds"] / rate,
            "runs": [
                {k: r[k] for k in ("seconds", "cpu_seconds", "tokens_per_second", "peak_rss_gb")} for r in runs[side]
            ],
        }
    out["speed_ratio"] = statistics.median(
        a["seconds"] / b["seconds"] for a, b in zip(*(runs[s] for s in SIDES), strict=True)
    )
    # processor time hardly moves when other programs want the cores as well: a check on the ratio of a busy machine
    out["cpu_ratio"] = statistics.median(
        a["cpu_seconds"] / b["cpu_seconds"] for a, b in zip(*(runs[s] for s in SIDES), strict=True)
    )
    out["load_average"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    out["memory_ratio"] = max(r["peak_rss_gb"] for r in runs["ours"]) / min(r["peak_rss_gb"] for r in runs["baseline"])
    out["loss_difference"] = max(
        abs(a - b) / a for a, b in zip(out["baseline"]["losses"], out["ours"]["losses"], strict=True)
    )
    out["same_batches"] = out["baseline"]["digest"] == out["ours"]["digest"]
    return out | {
        "gemm_gflops": rate,
        "threads": os.environ.get("OMP_NUM_THREADS", os.cpu_count()),
        "seconds_in_all": time.perf_counter() - started,
    }


def micro_batches(base: str, steps: int) -> tuple[str, list[list[tuple[list[int], list[int]]]]]:
    """The data set's name, and for each micro-batch its (input_ids, labels)."""
    from hearmeglm.data.sources import read
    from hearmeglm.models.collate import order
    from hearmeglm.models.load import load_tokenizer
    from hearmeglm.models.template import find_template

    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "cpsycound"
    real = folder.is_dir()
    records = read(
        folder if real else "", "cpsycound" if real else "starter", source="cpsycound" if real else "starter"
    )
    tokenizer = load_tokenizer(base)
    template = find_template("auto", tokenizer)
    dialogues = []
    for record in records:
        if record.dialogue is not None:
            dialogues.append(record.dialogue)
        if len(dialogues) == 400:
            break
    encoded = [template.encode(d.messages, tokenizer, CUTOFF) for d in dialogues]
    chosen = order([len(e.input_ids) for e in encoded], 1, BATCH, SEED)[: steps * BATCH * ACCUMULATION]
    rows = [(encoded[i].input_ids, encoded[i].labels) for i in chosen]
    return ("cpsycound" if real else "embedded corpus"), [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]


def run_side(side: str, work: Path, base: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Trainer, TrainingArguments, set_seed

    from hearmeglm.files import sha256_json
    from hearmeglm.models.collate import pack, pad
    from hearmeglm.models.engine import accelerate_training
    from hearmeglm.models.load import load_model
    from hearmeglm.models.template import Encoded
    from hearmeglm.train.arguments import quiet_libraries
    from hearmeglm.train.trainer import Schedule, StageTrainer
    from hearmeglm.train.usage import peak_memory

    quiet_libraries()
    batches = json.loads((work / "batches.json").read_text())
    examples = [Encoded(ids, labels) for batch in batches for ids, labels in batch]
    steps = len(batches) // ACCUMULATION
    ours = side == "ours"
    set_seed(SEED)
    model = load_model(base, dtype="bf16", device="cpu")
    model.requires_grad_(False)
    model = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
    ).train()
    if not ours:
        model.config.use_cache = False
        model.gradient_checkpointing_enable({"use_reentrant": True})
        model.enable_input_require_grads()
    args = TrainingArguments(
        output_dir=str(work / side), per_device_train_batch_size=BATCH, gradient_accumulation_steps=ACCUMULATION, num_train_epochs=1,
        learning_rate=RATE, lr_scheduler_type="cosine", max_grad_norm=1.0, optim="adamw_torch", bf16=not ours, use_cpu=True, seed=SEED,
        logging_steps=1, eval_strategy="no", save_strategy="no", disable_tqdm=True, report_to="none", remove_unused_columns=False,
        dataloader_pin_memory=False, log_level="error",
    )  # fmt: skip
    if ours:
        engine = accelerate_training(model)
        trainer = StageTrainer(
            model, args, schedule=Schedule(steps, steps, 0, 0, None), collate=pack, train=examples, valid=[]
        )
        trainer._save_checkpoint = lambda *_: None  # type: ignore[method-assign]  # neither side saves
    else:

        class InOrder(Trainer):
            def _get_train_sampler(self, *_: Any) -> Any:
                return torch.utils.data.SequentialSampler(self.train_dataset)

        trainer = InOrder(model, args, data_collator=lambda rows: pad(rows, 0), train_dataset=examples)
        trainer.remove_callback(__import__("transformers").PrinterCallback)
    seen: list[str] = []
    collate = trainer.data_collator

    def noting(rows: list[Encoded]) -> Any:
        seen.append(sha256_json([[e.input_ids, e.labels] for e in rows]))
        return collate(rows)

    trainer.data_collator = noting
    begun, begun_cpu = time.perf_counter(), time.process_time()
    if ours:
        with engine.training(model):
            trainer.train()
    else:
        trainer.train()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    tokens = sum(len(e.input_ids) for e in examples)
    learnt = sum(y != -100 for e in examples for y in e.labels[1:])
    result = {
        "tokens": tokens, "supervised_tokens": learnt, "seconds": seconds, "cpu_seconds": cpu, "tokens_per_second": tokens / seconds,
        "peak_rss_gb": peak_memory(torch) / 1e9, "losses": [round(r["loss"], 5) for r in trainer.state.log_history if "loss" in r],
        "digest": sha256_json(seen), "gflop_needed": gflop(model, tokens, learnt),
    }  # fmt: skip
    (work / f"{side}.json").write_text(json.dumps(result))


def gflop(model: Any, tokens: int, learnt: int) -> float:
    """GEMM work that a LoRA step cannot avoid: forward and input gradient of each frozen weight; the output layer at supervised positions only."""
    inner = model.get_base_model()
    head = inner.get_output_embeddings().weight.numel()
    body = sum(
        p.numel()
        for n, p in inner.named_parameters()
        if p.ndim == 2 and "lora_" not in n and "embed" not in n and "lm_head" not in n
    )
    return 4 * (body * tokens + head * learnt) / 1e9


def gemm_rate() -> float:
    """Best of several bf16 multiplications at this model's shapes, GFLOP/s."""
    import torch

    x, w = torch.randn(1600, 640).bfloat16(), torch.randn(2048, 640).bfloat16()
    best = 1e9
    for _ in range(60):
        begun = time.perf_counter()
        _ = x @ w.T
        best = min(best, time.perf_counter() - begun)
    return 2 * 1600 * 640 * 2048 / best / 1e9


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _table(result: dict[str, Any]) -> str:
    lines = [f"{'':10}{'tokens/s':>10}{'peak GB':>10}{'of GEMM':>10}  losses"]
    for side in SIDES:
        r = result[side]
        lines.append(
            f"{side:10}{r['tokens_per_second']:10.0f}{r['peak_rss_gb']:10.2f}{r['gemm_share']:10.0%}  {r['losses']}"
        )
    lines.append(
        f"speed × {result['speed_ratio']:.2f} (by processor time × {result['cpu_ratio']:.2f}), memory × {result['memory_ratio']:.2f}, largest loss difference {result['loss_difference']:.3%}, same micro-batches: {result['same_batches']}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
