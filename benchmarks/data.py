"""Speed and memory of the data workshop.

    python benchmarks/data.py                     the real sets of ../shared/data, then 10,000, 100,000 and 500,000 synthetic dialogues
    python benchmarks/data.py --sizes 10000       one point of the curve

Synthetic dialogues are made here, from a fixed seed, of 2 to 6 exchanges in Chinese; one in a hundred is a near-copy of an earlier
one. Each measurement runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
OPENERS = (
    "我最近",
    "昨天晚上",
    "从上个月开始",
    "说不清为什么",
    "每到周末",
    "一想到这件事",
    "他走了以后",
    "考试之前",
    "在公司里",
    "回到家",
)
VERBS = (
    "睡不着",
    "总是哭",
    "不想说话",
    "很烦躁",
    "害怕见人",
    "吃不下饭",
    "一直刷手机",
    "跟家里吵架",
    "反复检查门锁",
    "觉得没有意义",
)
THINGS = ("工作", "成绩", "婚姻", "孩子", "父母", "朋友", "身体", "未来", "钱", "过去")
REPLIES = (
    "听你说到{a}，那一刻心里最强的感受是什么？",
    "{b}的时候，身体哪里先有反应？",
    "我们可以先把{a}放一放，看看今晚能为自己做的一件小事。",
    "你提到{b}，这样的情况大约持续多久了？",
    "如果{a}有一点点好转，你会先注意到什么？",
)


def make(count: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Synthetic dialogues as OpenAI messages."""
    draw = random.Random(seed)
    kept: list[list[dict[str, str]]] = []
    for number in range(count):
        if kept and number % 100 == 99:
            messages = [dict(m) for m in kept[draw.randrange(len(kept))]]
            messages[-1]["content"] += "好吗？"
        else:
            messages = []
            for _ in range(draw.randint(2, 6)):
                a, b = draw.choice(THINGS), draw.choice(VERBS)
                client = "，".join(
                    f"{draw.choice(OPENERS)}{draw.choice(VERBS)}，因为{draw.choice(THINGS)}和{draw.choice(THINGS)}{draw.randrange(1000)}"
                    for _ in range(2)
                )
                messages += [
                    {"role": "user", "content": client + "。"},
                    {
                        "role": "assistant",
                        "content": draw.choice(REPLIES).format(a=a, b=b) + str(draw.randrange(100000)),
                    },
                ]
            if number % 50 == 0:
                kept.append(messages)
        yield {"messages": messages}


def peak_mib() -> float:
    """Peak resident memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def clean_only(path: Path) -> dict[str, float]:
    """Read and clean, streamed."""
    from hearmeglm.data.clean import Cleaner
    from hearmeglm.data.sources import read
    from hearmeglm.recipe import Persona

    cleaner, start, count = Cleaner(Persona.model_validate({})), time.perf_counter(), 0
    for record in read(path, "openai"):
        assert record.dialogue is not None
        count += cleaner(record.dialogue).dialogue is not None
    seconds = time.perf_counter() - start
    return {
        "dialogues": count,
        "seconds": seconds,
        "cpu_seconds": time.process_time(),
        "per_second": count / seconds,
        "peak_mib": peak_mib(),
    }


def with_search(path: Path) -> dict[str, float]:
    """Read, clean and search near-duplicates, streamed; only signatures are kept."""
    from hearmeglm.data.clean import Cleaner
    from hearmeglm.data.dedup import Signatures, comparable, groups, near_pairs
    from hearmeglm.data.sources import read
    from hearmeglm.recipe import Persona

    cleaner, signatures, start = Cleaner(Persona.model_validate({})), Signatures(), time.perf_counter()
    for record in read(path, "openai"):
        assert record.dialogue is not None
        if (dialogue := cleaner(record.dialogue).dialogue) is not None:
            signatures.add(comparable(dialogue))
    pairs = near_pairs(signatures, 0.8)
    found = len(set(groups(signatures.count, pairs)))
    seconds = time.perf_counter() - start
    return {
        "dialogues": signatures.count,
        "seconds": seconds,
        "cpu_seconds": time.process_time(),
        "per_second": signatures.count / seconds,
        "peak_mib": peak_mib(),
        "groups": found,
        "bytes_a_dialogue": signatures.nbytes / signatures.count,
    }


def real() -> dict[str, Any]:
    """Everything that `prepare` does to the original's data, without and with scrubbing."""
    from hearmeglm.data.prepare import prepare
    from hearmeglm.recipe import parse_recipe
    from hearmeglm.run import RunDir

    out = {}
    for scrub in (False, True):
        sources = {
            "cpsycound": {"path": str(SHARED / "cpsycound")},
            "tiangou": {"path": str(SHARED / "emollm/tiangou.json"), "kind": "emoji"},
            "self": {"path": str(SHARED / "emollm/self_cognition_EmoLLM.json"), "kind": "self-cognition"},
        }
        recipe = parse_recipe(
            {"name": "bench", "data": {"sources": sources, "scrub": scrub}, "evaluation": {"models": ["base"]}}
        )
        with tempfile.TemporaryDirectory() as folder:
            run, start, cpu = RunDir.create(Path(folder) / "run", recipe), time.perf_counter(), time.process_time()
            summary = prepare(recipe, run).summary
            seconds = time.perf_counter() - start
        out["scrubbed" if scrub else "plain"] = {
            "records": sum(s["read"] for s in summary["sources"].values()),
            "seconds": seconds,
            "cpu_seconds": time.process_time() - cpu,
            "peak_mib": peak_mib(),
        }
    return out


def alone(*args: str) -> dict[str, Any]:
    """Run one measurement in a fresh process."""
    done = subprocess.run([sys.executable, __file__, *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 500_000])
    parser.add_argument("--part", choices=("real", "clean", "search"))
    parser.add_argument("--file", type=Path)
    parser.add_argument("--json", action="store_true", help="print only JSON")
    args = parser.parse_args()
    if args.part:
        print(
            json.dumps(
                real() if args.part == "real" else (clean_only if args.part == "clean" else with_search)(args.file)
            )
        )
        return
    report: dict[str, Any] = {
        "cores": os.cpu_count(),
        "real": alone("--part", "real") if SHARED.is_dir() else None,
        "curve": [],
    }
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "synthetic.jsonl"
            with open(path, "w", encoding="utf-8") as out:
                for row in make(size):
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
            mib = path.stat().st_size / 2**20
            report["curve"].append(
                {
                    "size": size,
                    "file_mib": mib,
                    "clean": alone("--part", "clean", "--file", str(path)),
                    "search": alone("--part", "search", "--file", str(path)),
                }
            )
        print(f"{size:,} done", file=sys.stderr)
    if args.json:
        print(json.dumps(report))
        return
    if report["real"]:
        for name, r in report["real"].items():
            print(
                f"real data ({name}): {r['records']} records in {r['seconds']:.1f} s ({r['cpu_seconds']:.1f} s of CPU), peak {r['peak_mib']:.0f} MiB"
            )
    print(
        "| dialogues | file | read + clean /s (per CPU second) | peak | with near-duplicate search /s (per CPU second) | peak | bytes a dialogue |\n|---|---|---|---|---|---|---|"
    )
    for row in report["curve"]:
        c, s = row["clean"], row["search"]
        print(
            f"| {row['size']:,} | {row['file_mib']:.0f} MiB | {c['per_second']:,.0f} ({row['size'] / c['cpu_seconds']:,.0f}) | {c['peak_mib']:.0f} MiB | {s['per_second']:,.0f} ({row['size'] / s['cpu_seconds']:,.0f}) | {s['peak_mib']:.0f} MiB | {s['bytes_a_dialogue']:.0f} |"
        )


if __name__ == "__main__":
    main()
