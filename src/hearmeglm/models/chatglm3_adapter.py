"""LoRA adapters that were trained on ChatGLM3's remote code, made to fit the native model.

The fused `query_key_value` update B·A becomes three: each takes the whole A and its own rows of B, so the sum is the
same to the bit. A DoRA magnitude is one number a row and is cut likewise. The other modules are only renamed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..files import atomic_open, read_json, write_json
from .chatglm3 import qkv_rows
from .convert_io import BinFile, SafetensorsFile, Spec, TensorFile, write_safetensors

_NAME = re.compile(
    r"base_model\.model\.transformer\.(?:encoder\.layers\.(?P<layer>\d+)\.(?P<module>[\w.]+?)|(?P<head>output_layer))"
    r"\.(?P<kind>lora_A\.weight|lora_B\.weight|lora_magnitude_vector(?:\.weight)?)"
)
_MODULES = {
    "self_attention.dense": "self_attn.o_proj",
    "mlp.dense_h_to_4h": "mlp.gate_up_proj",
    "mlp.dense_4h_to_h": "mlp.down_proj",
}
_QKV = "self_attention.query_key_value"
_Piece = tuple[str, str, int, int]
"""Native name, source name, first row, row after the last."""


def convert_adapter(source: Path, target: Path, native: Path) -> list[str]:
    """Convert a PEFT LoRA, rsLoRA or DoRA adapter directory.

    Args:
        source: the adapter for ChatGLM3's remote code (safetensors, or .bin read without running code).
        target: must not exist; written whole or not at all.
        native: the converted base; its sizes decide the rows, and the adapter will name it as its base.

    Returns:
        The native modules that have an adapter now.

    Raises:
        ModelError: what cannot be converted, with the reason.
    """
    if target.exists():
        raise ModelError("expected a folder that is not there yet, found one", where=str(target), hint="choose another")
    config = read_json(source / "adapter_config.json")
    base = read_json(native / "config.json")
    if base.get("model_type") != "glm":
        raise ModelError(
            f"expected a converted ChatGLM3 (model_type glm) as base, found {base.get('model_type')}",
            where=str(native),
            hint="hearme convert chatglm3",
        )
    _check(config, str(source))
    file = _open(source)
    pieces = list(_pieces(file, base))
    layers = {int(m[1]) for p in pieces if (m := re.search(r"layers\.(\d+)\.", p[0]))}
    if layers and max(layers) >= base["num_hidden_layers"]:
        raise ModelError(
            f"the adapter has a layer {max(layers)}, the base {base['num_hidden_layers']} layers", where=str(source)
        )
    modules = sorted({re.sub(r"\.lora_.*", "", p[0]).rpartition(".")[2] for p in pieces})
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        specs = {
            new: Spec(file.specs[old].dtype, (stop - start, *file.specs[old].shape[1:]))
            for new, old, start, stop in pieces
        }
        blocks = (block for _, old, start, stop in pieces for block in file.rows(old, start, stop))
        with atomic_open(part / "adapter_model.safetensors", "wb") as out:
            write_safetensors(out, specs, blocks)
        write_json(
            part / "adapter_config.json",
            {
                **config,
                "target_modules": modules,
                "base_model_name_or_path": str(native.resolve()),
                "auto_mapping": None,
            },
        )
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return modules


def _check(config: Mapping[str, Any], where: str) -> None:
    kind = config.get("peft_type")
    refusals = [
        (kind != "LORA", f"peft_type {kind} has no equal on the native class (P-Tuning must be trained anew)"),
        (config.get("bias", "none") != "none", f"bias {config.get('bias')!r}: trained biases are not converted"),
        (
            bool(config.get("modules_to_save")),
            f"modules_to_save {config.get('modules_to_save')}: whole modules are not",
        ),
        (
            bool(config.get("rank_pattern")) or bool(config.get("alpha_pattern")),
            "rank or alpha patterns by module name",
        ),
    ]
    if wrong := [why for bad, why in refusals if bad]:
        raise ModelError(f"cannot be converted: {'; '.join(wrong)}", where=where)


def _open(source: Path) -> TensorFile:
    if (path := source / "adapter_model.safetensors").is_file():
        return SafetensorsFile(path)
    if (path := source / "adapter_model.bin").is_file():
        return BinFile(path)
    raise ModelError("expected adapter_model.safetensors or .bin, found neither", where=str(source))


def _pieces(file: TensorFile, base: Mapping[str, Any]) -> Iterator[_Piece]:
    rows = qkv_rows(base)
    for name, spec in file.specs.items():
        match = _NAME.fullmatch(name)
        if not match or (match["layer"] and match["module"] not in (_QKV, *_MODULES)):
            raise ModelError(
                f"cannot be converted: {name} is not LoRA on a linear layer of ChatGLM3", where=str(file.path)
            )
        kind = match["kind"]
        if match["head"]:
            yield f"base_model.model.lm_head.{kind}", name, 0, spec.shape[0]
            continue
        layer = f"base_model.model.model.layers.{match['layer']}."
        if match["module"] != _QKV:
            yield f"{layer}{_MODULES[match['module']]}.{kind}", name, 0, spec.shape[0]
            continue
        if not kind.startswith("lora_A") and spec.shape[0] != sum(rows.values()):
            raise ModelError(
                f"{name}: expected {sum(rows.values())} rows for this base, found {spec.shape[0]}", where=str(file.path)
            )
        start = 0
        for module, n in rows.items():
            whole = kind.startswith("lora_A")
            yield (
                f"{layer}self_attn.{module}.{kind}",
                name,
                0 if whole else start,
                spec.shape[0] if whole else start + n,
            )
            start += n
