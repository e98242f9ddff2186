"""A tuned model as one thing that others can run: merged Hugging Face weights, or GGUF files with an Ollama Modelfile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..files import read_json, write_json, write_text
from .convert import SHARD_BYTES, convert
from .load import base_dir, load_tokenizer
from .merge import Merged, Weights
from .reference import ModelRef
from .template import Template, find_template

FORMATS = ("hf", "gguf")
DTYPES = {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}
SMALL = 1_000_000_000
"""Up to so many parameters merged weights are kept in float32 by default: rounding them again would cost quality."""
LEGAL = ("NOTICE", "MODEL_LICENSE", "LICENSE", "LICENSE.txt", "LICENSE.md", "USE_POLICY.md")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the folder, and each file with its size in bytes."""

    folder: Path
    files: dict[str, int]


def default_out(ref: ModelRef, fmt: str) -> Path:
    """RUN/export/<stage>-<format> for a stage of a run, else export/<name>-<format> in the working directory."""
    stage = _stage(ref)
    if stage is not None:
        return stage.parent / "export" / f"{stage.name}-{fmt}"
    return Path("export") / f"{file_name(ref)}-{fmt}"


def _stage(ref: ModelRef) -> Path | None:
    """The folder of the stage of a run that `ref` means, if it means one."""
    folder = (ref.adapter or Path(ref.source)).parent
    return folder if (folder.parent / "recipe.yaml").is_file() else None


def file_name(ref: ModelRef) -> str:
    """The model's name without what a file name must not have."""
    return Path(ref.name).name.replace(":", "-") or "model"


def export(
    ref: ModelRef,
    out: Path,
    fmt: str = "hf",
    *,
    quants: Sequence[str] = ("q8_0",),
    dtype: str = "auto",
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Exported:
    """Merge a model's adapter and write it, one tensor in memory at a time.

    Args:
        ref: base and adapter.
        out: folder to write.
        fmt: `hf` or `gguf`.
        quants: GGUF presets (`gguf_quantize.QUANTS`); one file each.
        dtype: of merged Hugging Face weights: `fp32`, `bf16`, `fp16`, or `auto`: the base's own, but float32 up to a billion parameters.
        progress: called with work done and work in all.

    Raises:
        ModelError: nothing to export, or a family or preset that the format does not have.
    """
    if fmt not in FORMATS:
        raise ModelError(f"expected a format, found {fmt!r}", hint=f"one of {', '.join(FORMATS)}")
    if ref.kind != "hf":
        raise ModelError(f"expected a model with Hugging Face weights, found a {ref.kind} one", where=ref.source)
    folder = base_dir(ref.source)
    tokenizer = load_tokenizer(ref.source, trust_remote_code=ref.trust_remote_code)
    template = find_template(ref.template, tokenizer)
    if fmt == "hf":
        return _hf(ref, folder, tokenizer, template, out, dtype, shard_bytes, progress)
    return _gguf(ref, folder, tokenizer, template, out, quants, progress)


def _hf(
    ref: ModelRef,
    folder: Path,
    tokenizer: Any,
    template: Template,
    out: Path,
    dtype: str,
    shard_bytes: int,
    progress: Progress | None,
) -> Exported:
    weights = Weights(folder, ref.adapter)
    config = read_json(folder / "config.json")
    if dtype == "auto":
        own = {v: k for k, v in _TORCH.items()}.get(config.get("dtype") or config.get("torch_dtype") or "", "fp32")
        dtype = "fp32" if weights.parameters <= SMALL else own
    if dtype not in DTYPES:
        raise ModelError(f"expected a number format, found {dtype!r}", hint=f"auto, {', '.join(DTYPES)}")

    def others(part: Path) -> None:
        write_json(part / "config.json", {**config, "dtype": _TORCH[dtype], "_name_or_path": file_name(ref)})
        stops = template.stop_ids(tokenizer)
        write_json(part / "generation_config.json", {"eos_token_id": stops, "pad_token_id": tokenizer.pad_token_id})
        tokenizer.chat_template = template.jinja or None
        tokenizer.save_pretrained(part)
        _legal(folder, part)
        write_text(part / "README.md", card(ref, folder, template, f"Hugging Face, {dtype}", ""))

    convert(
        {n: Merged(weights, n, DTYPES[dtype]) for n in weights.names},
        out,
        others,
        shard_bytes=shard_bytes,
        progress=progress,
    )
    return Exported(out, {p.name: p.stat().st_size for p in sorted(out.iterdir())})


_TORCH = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def _gguf(
    ref: ModelRef,
    folder: Path,
    tokenizer: Any,
    template: Template,
    out: Path,
    quants: Sequence[str],
    progress: Progress | None,
) -> Exported:
    from .gguf_quantize import find_quant
    from .gguf_write import write_gguf
    from .modelfile import modelfile

    for quant in quants:
        find_quant(quant)  # an unknown one is refused before the first is made
    files = {}
    for quant in quants:
        name = f"{file_name(ref)}-{quant.lower()}.gguf"
        files[name] = write_gguf(
            folder,
            out / name,
            template,
            tokenizer,
            adapter=ref.adapter,
            quant=quant,
            name=ref.name,
            licence=_licence(folder),
            dry_multiplier=ref.dry_multiplier,
            progress=progress,
        )
        suffix = f".{quant.lower()}" if len(quants) > 1 else ""
        write_text(out / f"Modelfile{suffix}", modelfile(name, template, tokenizer))
    _legal(folder, out)
    rows = "".join(f"| {name} | {size / 1e6:.1f} MB |\n" for name, size in files.items())
    table = f"\n| file | size |\n|---|---|\n{rows}"
    write_text(out / "README.md", card(ref, folder, template, f"GGUF ({', '.join(quants)})", table))
    return Exported(out, files)


def _legal(folder: Path, out: Path) -> None:
    """Licence texts and notices go with every copy."""
    for name in LEGAL:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)


def _licence(folder: Path) -> str:
    notice = folder / "NOTICE"
    return notice.read_text(encoding="utf-8").strip() if notice.is_file() else ""


def card(ref: ModelRef, folder: Path, template: Template, what: str, table: str) -> str:
    """The model card (README.md), in Chinese and English."""
    licence = _licence(folder) or "见基座模型的许可证 / see the base model's licence"
    stage = found.name if (found := _stage(ref)) else "—"
    return f"""---
language: [zh, en]
pipeline_tag: text-generation
tags: [psychological-support, hearmeglm]
---

# {ref.name}

{what}
{table}
## 中文

- 基座：`{folder.name}`；适配器：{stage}（已合并）；对话模板：`{template.name}`（已随模型附带）。
- 由 HearMeGLM（和心者）导出。用户文本中的控制标记应作为普通文字编码，`hearme chat` 与 `hearme serve` 会这样做。
- 用途：心理支持陪伴的研究与演示。它不是医疗器械，不能诊断或治疗；危机情况请立即联系当地紧急电话或危机热线。
- 运行：`hearme chat 本目录`（或 .gguf 文件）；GGUF 亦可 `ollama create jerry -f Modelfile`。

## English

- Base: `{folder.name}`; adapter: {stage} (merged); chat template: `{template.name}` (inside).
- Exported by HearMeGLM. Control tokens in a user's text must be encoded as plain text, as `hearme chat` and `hearme serve` do.
- For research on and demonstration of psychological support. Not a medical device, no diagnosis, no treatment; in a crisis call your local emergency number or hotline.
- Run it: `hearme chat THIS_FOLDER` (or the .gguf file); GGUF also: `ollama create jerry -f Modelfile`.

## 许可 / Licence

{licence}
"""
