"""Memory and time of converting a full-size ChatGLM3-6B checkpoint (12.5 GB of random numbers in its names, shapes and shards).

    python benchmarks/convert_memory.py --source path/to/chatglm3        # config.json, index, tokenizer.model

Needs 25 GB of disk for a while; everything is deleted at the end. Peak memory is VmHWM of the converting process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hearmeglm.files import read_json
from hearmeglm.models.chatglm3 import DEFAULTS, expected_shapes, native_config, qkv_rows
from hearmeglm.models.convert_io import BLOCK, Spec, write_safetensors


def original_specs(source: Path) -> dict[str, Spec]:
    """ChatGLM3's names and shapes, from its config and index."""
    config = native_config({**DEFAULTS, **read_json(source / "config.json")}, str(source))
    native, fused = expected_shapes(config), sum(qkv_rows(config).values())
    names = read_json(source / "model.safetensors.index.json")["weight_map"]

    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        if name.endswith("inv_freq"):
            shapes[name] = (config["head_dim"] // 4,)
        elif "query_key_value" in name:
            shapes[name] = (fused, config["hidden_size"]) if name.endswith("weight") else (fused,)
        else:
            layer = name.replace("transformer.encoder.layers", "model.layers")
            for old, new in (
                ("self_attention.dense", "self_attn.o_proj"), ("dense_h_to_4h", "gate_up_proj"), ("dense_4h_to_h", "down_proj"),
                ("transformer.embedding.word_embeddings", "model.embed_tokens"), ("transformer.encoder.final_layernorm", "model.norm"),
                ("transformer.output_layer", "lm_head"),
            ):  # fmt: skip
                layer = layer.replace(old, new)
            shapes[name] = native[layer]
    return {n: Spec("F16", s) for n, s in shapes.items()}


def write_source(source: Path, folder: Path) -> int:
    """The checkpoint, shard by shard."""
    specs = original_specs(source)
    weight_map = read_json(source / "model.safetensors.index.json")["weight_map"]
    noise = os.urandom(BLOCK)

    def blocks(names: list[str]) -> Iterator[bytes]:
        for name in names:
            left = specs[name].nbytes
            while left:
                yield noise[: min(left, BLOCK)]
                left -= min(left, BLOCK)

    for file in sorted(set(weight_map.values())):
        names = [n for n in specs if weight_map[n] == file]
        with open(folder / file, "wb") as out:
            write_safetensors(out, {n: specs[n] for n in names}, blocks(names))
    for name in ("config.json", "model.safetensors.index.json", "tokenizer.model"):
        shutil.copyfile(source / name, folder / name)
    return sum(s.nbytes for s in specs.values())


CHILD = """
import json, sys, time
from pathlib import Path
from hearmeglm.models.chatglm3 import convert_chatglm3
start = time.perf_counter()
done = convert_chatglm3(Path(sys.argv[1]), Path(sys.argv[2]))
status = dict(l.split(":", 1) for l in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({"tensors": done.tensors, "bytes": done.bytes, "seconds": round(time.perf_counter() - start, 1),
                  "VmHWM_bytes": int(status["VmHWM"].split()[0]) * 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[2] / "shared/models/chatglm3")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp) / "source"
        folder.mkdir()
        start = time.perf_counter()
        total = write_source(args.source, folder)
        print(f"wrote {total / 1e9:.2f} GB in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        out = subprocess.run(
            [sys.executable, "-c", CHILD, str(folder), str(Path(tmp) / "native")],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    print(json.dumps(json.loads(out.stdout.splitlines()[-1]), indent=2))


if __name__ == "__main__":
    main()
