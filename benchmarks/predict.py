"""Batch prediction against the incumbent's way, in one invocation: python benchmarks/predict.py [--json]

Both sides answer the same prompts greedily from the same merged bfloat16 weights, at most 128 new tokens:

  incumbent  transformers `generate` on batches of 8 in data order, padded, each batch until its longest reply ends
  ours       hearmeglm.models.generate(padded=8): no padding outside attention, long batches first, finished rows leave;
             attention sees the layout of the incumbent's batches, so that the texts can be compared bit for bit
  free       the same without that layout (shared prefixes too), as `hearme evaluate` uses it: its texts differ where bfloat16
             rounds a close choice the other way, as the incumbent's own do between batches of 8 and single prompts

on an adapter tuned on 300 real dialogues (built once and cached) and on the untuned base, whose replies run to the cap.
Ours is measured before and after the incumbent and the mean taken, so that a machine that drifts favours neither; `cpu_ratio` is
the same ratio in processor seconds, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import mean, median

import torch

from hearmeglm.evals.items import draw_items, read_dialogues
from hearmeglm.files import cache_dir
from hearmeglm.models.generate import generate
from hearmeglm.models.load import load_model, load_tokenizer
from hearmeglm.models.template import find_template
from hearmeglm.recipe import Recipe, Sampling, parse_recipe
from hearmeglm.run import RunDir

BATCH = 8
CAP = 128


def recipe(data: Path) -> Recipe:
    return parse_recipe(
        {
            "name": "benchmark-predict",
            "data": {
                "sources": {"cpsycound": {"format": "cpsycound", "path": str(data)}},
                "split": {"train": 0.8, "valid": 0.1, "test": 0.1},
                "limits": {"train": 300, "valid": 8, "test": 100},
            },
            "lora": {"rank": 16, "alpha": 32},
            "stages": {
                "dialogue": {
                    "mix": {"cpsycound": 1},
                    "learning_rate": 4e-4,
                    "epochs": 1,
                    "batch_size": 4,
                    "accumulation": 2,
                    "scheduler": "linear",
                    "samples": False,
                    "save_steps": 5,
                    "trackers": [],
                }
            },
            "evaluation": {"models": ["base", "dialogue"]},
        }
    )


def prepared(data: Path) -> tuple[Recipe, RunDir]:
    """The tuned run: made once, found again by its recipe."""
    from hearmeglm.data.prepare import prepare
    from hearmeglm.train.stage import train_stage

    plan = recipe(data)
    run = RunDir.create(cache_dir() / "benchmarks" / f"predict-{plan.digest()[:12]}", plan)
    prepare(plan, run)
    train_stage(plan, run, "dialogue")
    return plan, run


def incumbent(model, prompts, stops, pad):
    replies, seconds, cpu = [], 0.0, 0.0
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        width = max(map(len, batch))
        begin, busy = time.perf_counter(), time.process_time()
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in batch], device=model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch], device=model.device)
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=CAP,
                do_sample=False,
                eos_token_id=stops,
                pad_token_id=pad,
            )
        seconds += time.perf_counter() - begin
        cpu += time.process_time() - busy
        for row in out[:, width:].tolist():
            end = next((i for i, t in enumerate(row) if t in stops), len(row))
            replies.append(row[:end])
        print(f"\r  incumbent {len(replies)}/{len(prompts)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return replies, seconds, cpu


def ours(model, prompts, stops, rows, padded=BATCH):
    begin, cpu = time.perf_counter(), time.process_time()
    out = generate(model, prompts, Sampling(max_new_tokens=CAP), stop_ids=stops, rows=rows, padded=padded)
    return [g.ids for g in out], time.perf_counter() - begin, time.process_time() - cpu


def compare(name, model, prompts, stops, pad, rows):
    model.generation_config.cache_implementation = None
    ours(model, prompts[:2], stops, rows)  # warm up both sides' kernels
    first, t1, c1 = ours(model, prompts, stops, rows)
    theirs, t_theirs, c_theirs = incumbent(model, prompts, stops, pad)
    again, t2, c2 = ours(model, prompts, stops, rows)
    free, t_free, _ = ours(model, prompts, stops, rows, padded=0)
    t_ours = (t1 + t2) / 2
    lengths = [len(r) for r in first]
    result = {
        "model": name,
        "speed_ratio": round(t_theirs / t_ours, 3),
        "cpu_ratio": round(2 * c_theirs / (c1 + c2), 3),
        "same_texts": round(mean(a == b for a, b in zip(first, theirs, strict=True)), 4),
        "deterministic": first == again,
        "free": {
            "speed_ratio": round(t_theirs / t_free, 3),
            "same_texts": round(mean(a == b for a, b in zip(free, theirs, strict=True)), 4),
        },
        "samples_per_s": {"ours": round(len(prompts) / t_ours, 3), "incumbent": round(len(prompts) / t_theirs, 3)},
        "seconds": {"ours": [round(t1, 2), round(t2, 2)], "incumbent": round(t_theirs, 2)},
        "tokens_per_s": {
            "ours": round(sum(lengths) / t_ours, 1),
            "incumbent": round(sum(map(len, theirs)) / t_theirs, 1),
        },
        "reply_tokens": {
            "mean": round(mean(lengths), 1),
            "median": median(lengths),
            "min": min(lengths),
            "max": max(lengths),
        },
        "reply_lengths": lengths,
        "capped": round(mean(n == CAP for n in lengths), 3),
    }
    print(
        f"{name}: {result['speed_ratio']:.2f}x ({result['samples_per_s']['ours']} against {result['samples_per_s']['incumbent']} samples/s), "
        f"same texts {result['same_texts']:.1%}, "
        f"free layout {result['free']['speed_ratio']:.2f}x and {result['free']['same_texts']:.1%}, reply tokens {result['reply_tokens']}, at the cap {result['capped']:.0%}",
        file=sys.stderr,
    )
    return result


def main() -> None:
    here = Path(__file__).resolve().parents[1]
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--json", action="store_true", help="print the result as the last line, in JSON")
    args.add_argument("--items", type=int, default=64, help="prompts")
    args.add_argument(
        "--turns",
        choices=["every", "last"],
        default="every",
        help="answer every counsellor turn of a dialogue, or its last",
    )
    args.add_argument("--rows", type=int, default=64, help="replies that ours decodes together")
    args.add_argument(
        "--data", type=Path, default=here.parent / "shared" / "data" / "cpsycound", help="folder of CPsyCounD"
    )
    args.add_argument("--skip-base", action="store_true", help="only the tuned model")
    args.add_argument("--build", action="store_true", help="only build the tuned adapter")
    opt = args.parse_args()
    if not opt.data.is_dir():
        sys.exit(f"expected CPsyCounD at {opt.data}, found nothing -> hearme data fetch cpsycound, or --data FOLDER")
    plan, run = prepared(opt.data)
    if opt.build:
        return
    tokenizer = load_tokenizer(plan.base)
    template = find_template(plan.template, tokenizer)
    items = draw_items(read_dialogues(run.data.path / "test.jsonl"), opt.turns, opt.items, plan.seed)
    prompts = [template.encode_prompt(i.messages, tokenizer) for i in items]
    stops = template.stop_ids(tokenizer)
    print(
        f"{len(prompts)} prompts ({opt.turns} turns of {len({i.dialogue_id for i in items})} dialogues), "
        f"{mean(map(len, prompts)):.0f} tokens on average, cap {CAP}, {torch.get_num_threads()} threads",
        file=sys.stderr,
    )
    results = {}
    for name, adapter in (("tuned", run.step("dialogue").path / "adapter"), ("base", None))[
        : 1 if opt.skip_base else 2
    ]:
        model = load_model(plan.base, adapter=adapter, dtype="bf16")
        results[name] = compare(name, model, prompts, stops, tokenizer.pad_token_id, opt.rows)
        del model
    final = {
        "speed_ratio": results["tuned"]["speed_ratio"],
        "cpu_ratio": results["tuned"]["cpu_ratio"],
        "same_texts": results["tuned"]["same_texts"],
        "base_speed_ratio": results.get("base", {}).get("speed_ratio"),
        "items": len(prompts),
        "turns": opt.turns,
        "prompt_tokens": round(mean(map(len, prompts)), 1),
        "results": results,
    }
    if opt.json:
        print(json.dumps(final, ensure_ascii=False))


if __name__ == "__main__":
    main()
