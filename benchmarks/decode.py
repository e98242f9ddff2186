"""Gemma 3 270M through llama.cpp against plain transformers: tokens a second, and the first token after a 300-token history.

    python benchmarks/decode.py [MODEL] [--quant q8_0 --quant q4_0] [--rounds 3]

Goals: decoding at least 3 times transformers on 2 cores; first token under 0.4 s with a warm cache. The forms are measured in turn, round
after round, and the best of each is compared, since a busy machine only ever makes a number worse.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from hearmeglm.evals.bench import bench
from hearmeglm.models.export import export
from hearmeglm.models.reference import resolve

KEYS = ("size_mb", "memory_mb", "first_token_cold_s", "first_token_warm_s", "tokens_per_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="starter")
    parser.add_argument("--quant", action="append")
    parser.add_argument("--folder", type=Path, help="folder of files that are exported already")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        folder = (
            args.folder
            or export(resolve(args.model), Path(tmp) / "gguf", "gguf", quants=args.quant or ["q8_0", "q4_0"]).folder
        )
        files = sorted(
            str(p) for p in folder.glob("*.gguf") if not args.quant or p.stem.rpartition("-")[2] in args.quant
        )
        rounds = [bench([args.model, *files], suite=0) for _ in range(args.rounds)]
    best: list[dict[str, Any]] = []
    for column in zip(*rounds, strict=True):
        row = {"model": column[0]["model"]}
        row |= {k: (max if k == "tokens_per_s" else min)(r[k] for r in column) for k in KEYS}
        row["times_transformers"] = None if not best else round(row["tokens_per_s"] / best[0]["tokens_per_s"], 2)
        best.append(row)
    print(json.dumps({"rounds": args.rounds, "load": os.getloadavg(), "rows": best}, indent=2))


if __name__ == "__main__":
    main()
