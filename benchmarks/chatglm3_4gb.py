"""Does a 4-bit ChatGLM3-6B load and chat in 4 GiB? Random weights in its real shape, under a memory cgroup, swap off.

    python benchmarks/chatglm3_4gb.py --tokenizer path/to/chatglm3/tokenizer.model

Writes a 3.5 GB GGUF file (kept with --keep), runs a child process in a cgroup of 4 GiB (page cache counted) and prints what it used.
Where no cgroup can be made, the child's peak resident memory (VmHWM) is the measure, and the reason is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIMIT = 4 << 30
CONFIG = {
    "model_type": "glm", "vocab_size": 65024, "hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 28,
    "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128, "attention_bias": True, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
}  # fmt: skip


def write_random(out: Path, tokenizer_model: Path) -> None:
    """A Q4_0 file with ChatGLM3-6B's sizes and vocabulary; blocks are drawn, not quantised, so it takes a minute."""
    import gguf
    import numpy as np
    from transformers import AutoTokenizer

    from hearmeglm.models.chatglm3 import expected_shapes
    from hearmeglm.models.chatglm3_tokenizer import build_tokenizer
    from hearmeglm.models.gguf_arch import add_numbers, find_arch
    from hearmeglm.models.gguf_vocab import add_vocab
    from hearmeglm.models.gguf_write import add_template
    from hearmeglm.models.template import load_template

    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        build_tokenizer(tokenizer_model, Path(folder), 8192)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        arch = find_arch(CONFIG)
        writer = gguf.GGUFWriter(out, arch.name)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
        add_numbers(writer, CONFIG, arch)
        add_vocab(writer, Path(folder), CONFIG["vocab_size"])
        add_template(writer, load_template("chatglm3"), tokenizer)
    names = gguf.get_tensor_name_map(arch.arch, 28)
    shapes = {names.get_name(n, try_suffixes=(".weight", ".bias")): s for n, s in expected_shapes(CONFIG).items()}
    for name, shape in shapes.items():
        if len(shape) == 1:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * shape[0])
        else:
            rows = (shape[0], shape[1] // 32 * 18)
            kind = gguf.GGMLQuantizationType.Q4_0
            writer.add_tensor_info(name, rows, np.dtype(np.uint8), rows[0] * rows[1], raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for shape in shapes.values():
        if len(shape) == 1:
            writer.write_tensor_data(np.ones(shape, np.float32))
            continue
        blocks = np.frombuffer(draw.bytes(shape[0] * shape[1] // 32 * 18), np.uint8).reshape(-1, 18).copy()
        blocks[:, :2] = np.frombuffer(np.float16(0.004).tobytes(), np.uint8)
        writer.write_tensor_data(blocks.reshape(shape[0], -1))
    writer.close()


def chat(path: str, context: int, tokens: int) -> dict[str, Any]:
    """Load, answer twice in one talk, and say what it took (run in the child)."""
    from hearmeglm.chat.llamacpp_model import LlamaCppModel
    from hearmeglm.chat.model import complete
    from hearmeglm.recipe import Sampling
    from hearmeglm.types import Message

    start = time.perf_counter()
    model = LlamaCppModel(path, context=context, users=1, cache_mib=0)
    loaded = time.perf_counter() - start
    print(f"loaded in {loaded:.0f} s", file=sys.stderr)
    talk = [Message("user", "最近总是睡不好，心里空落落的。")]
    sampling = Sampling(max_new_tokens=tokens, temperature=0.8, seed=1)
    first = complete(model, talk, sampling)
    print(f"first answer: {first}", file=sys.stderr)
    second = complete(model, [*talk, Message("assistant", first.text), Message("user", "谢谢你。")], sampling)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "load_s": round(loaded, 1),
        "first_token_s": round(first.first_token_s, 2),
        "tokens_per_s": [round(r.tokens / (r.total_s - r.first_token_s), 2) for r in (first, second)],
        "tokens": [first.tokens, second.tokens],
        "VmHWM_bytes": int(status["VmHWM"].split()[0]) * 1024,
        "RssAnon_bytes": int(status["RssAnon"].split()[0]) * 1024,
        "RssFile_bytes": int(status["RssFile"].split()[0]) * 1024,
    }


class Cgroup:
    """A memory cgroup (version 1 or 2) below this process's own, with swap off."""

    def __init__(self, limit: int) -> None:
        own = {
            c: path
            for _, c, path in (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
        }
        v1 = Path("/sys/fs/cgroup/memory")
        base = (
            v1 / own["memory"].lstrip("/") if "memory" in own else Path("/sys/fs/cgroup") / own.get("", "").lstrip("/")
        )
        self.path = base / f"hearme-{os.getpid()}"
        self.path.mkdir()
        try:
            if "memory" in own:
                self._set("memory.limit_in_bytes", limit)
                self._set("memory.swappiness", 0)
                self.peak_file = "memory.max_usage_in_bytes"
            else:
                self._set("memory.max", limit)
                self._set("memory.swap.max", 0)
                self.peak_file = "memory.peak"
        except OSError:
            self.path.rmdir()
            raise

    def _set(self, name: str, value: int) -> None:
        (self.path / name).write_text(str(value))

    def enter(self) -> None:
        """Called in the child before it starts."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def close(self) -> int:
        """Peak bytes (page cache counted); removes the group."""
        peak = int((self.path / self.peak_file).read_text())
        self.path.rmdir()
        return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tokenizer", type=Path, default=Path(__file__).parents[2] / "shared/models/chatglm3/tokenizer.model"
    )
    parser.add_argument("--file", type=Path, default=Path(tempfile.gettempdir()) / "chatglm3-6b-random-q4_0.gguf")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--keep", action="store_true", help="keep the file")
    parser.add_argument("--no-cgroup", action="store_true", help="measure VmHWM only")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(chat(str(args.file), args.context, args.tokens)))
        return
    if not args.file.is_file():
        start = time.perf_counter()
        write_random(args.file, args.tokenizer)
        print(f"wrote {args.file} in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    with open(args.file, "rb") as file:  # pages cached on behalf of this process would not be counted as the child's
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    result: dict[str, Any] = {"file_bytes": args.file.stat().st_size, "context": args.context}
    group: Cgroup | None = None
    try:
        if args.no_cgroup:
            raise OSError("not asked for")
        group = Cgroup(LIMIT)
    except (OSError, KeyError) as err:
        result["cgroup"] = f"none: {err}"
    command = [
        sys.executable,
        __file__,
        "--child",
        "--file",
        str(args.file),
        "--context",
        str(args.context),
        "--tokens",
        str(args.tokens),
    ]
    try:
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=group.enter if group else None)
        if child.returncode:
            result["failed"] = f"exit code {child.returncode} (-9: out of memory)"
        else:
            result |= json.loads(child.stdout.splitlines()[-1])
    finally:
        if group:
            result["cgroup"] = {"limit_bytes": LIMIT, "peak_bytes": group.close()}
        if not args.keep:
            args.file.unlink(missing_ok=True)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
