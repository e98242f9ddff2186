"""A model directory (with its adapter) as one GGUF file: tokenizer and chat template inside, a tensor in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
from transformers import PreTrainedTokenizerBase

from ..errors import ModelError
from ..files import read_json
from .gguf_arch import Arch, add_numbers, find_arch, rope_factors
from .gguf_header import DRY_KEY, TEMPLATE_KEY
from .gguf_quantize import Kind, choose, find_quant, quantize
from .gguf_vocab import add_vocab
from .merge import Weights
from .template import Template


def write_gguf(
    folder: Path,
    out: Path,
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    *,
    adapter: Path | None = None,
    quant: str = "q8_0",
    name: str = "",
    licence: str = "",
    dry_multiplier: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write `out`, whole or not at all.

    Args:
        folder: config.json, tokenizer.json and weights.
        tokenizer: of this folder; gives the ids of the template's tokens.
        adapter: a LoRA adapter to fold in.
        dry_multiplier: the model's own, for a `Sampling` without one.
        quant: a preset, see `gguf_quantize.QUANTS`.
        progress: called with tensors done and tensors in all.

    Returns:
        The file's size in bytes.

    Raises:
        ModelError: an architecture, tokenizer or preset that cannot be written.
    """
    config = read_json(folder / "config.json")
    preset, arch, weights = find_quant(quant), find_arch(config), Weights(folder, adapter)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    writer = gguf.GGUFWriter(part, arch.name)
    try:
        writer.add_name(name or folder.name)
        if licence:
            writer.add_license(licence)
        writer.add_file_type(preset.file)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        add_numbers(writer, config, arch)
        add_vocab(writer, folder, config["vocab_size"])
        add_template(writer, template, tokenizer)
        writer.add_float32(DRY_KEY, dry_multiplier)
        names = _names(weights, config["num_hidden_layers"], arch)
        tied = "output.weight" not in names.values()
        kinds = {
            n: choose(preset, new, weights.spec(n).shape, config["num_hidden_layers"], tied) for n, new in names.items()
        }
        factors = rope_factors(config)
        if factors is not None:
            writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
        for n, new in names.items():
            _announce(writer, new, weights.spec(n).shape, kinds[n])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        for done, n in enumerate(names, 1):
            writer.write_tensor_data(quantize(arch.transform(n, weights.load(n), config), kinds[n]))
            if progress:
                progress(done, len(names))
        writer.close()
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return out.stat().st_size


def add_template(writer: gguf.GGUFWriter, template: Template, tokenizer: PreTrainedTokenizerBase) -> None:
    """The chat template, as Jinja for everybody and as ours for us, and the tokens that end a reply."""
    if template.jinja:
        writer.add_chat_template(template.jinja)
    writer.add_string(TEMPLATE_KEY, template.model_dump_json())
    stops = template.stop_ids(tokenizer)
    eos = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else stops[0]
    writer.add_eos_token_id(eos)
    # llama.cpp ends at eos, eot and eom: three places for the stop tokens of a family
    others = [i for i in stops if i != eos]
    for add, i in zip((writer.add_eot_token_id, writer.add_eom_token_id), others, strict=False):
        add(i)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_add_bos_token(bool(template.begin) and template.begin == tokenizer.bos_token)
    writer.add_add_eos_token(False)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)


def _names(weights: Weights, layers: int, arch: Arch) -> dict[str, str]:
    table = gguf.get_tensor_name_map(arch.arch, layers)
    names = {}
    for name in weights.names:
        new = table.get_name(name, try_suffixes=(".weight", ".bias"))
        if new is None:
            raise ModelError(f"{arch.name} has no place for the tensor {name} in GGUF")
        names[name] = new
    return names


def _announce(writer: gguf.GGUFWriter, name: str, shape: tuple[int, ...], kind: Kind) -> None:
    if kind in (Kind.F32, Kind.F16):
        dtype: type[np.generic] = np.float32 if kind == Kind.F32 else np.float16
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        writer.add_tensor_info(name, shape, np.dtype(dtype), size)
        return
    block, width = gguf.GGML_QUANT_SIZES[kind]
    rows: tuple[int, ...] = (*shape[:-1], shape[-1] // block * width)
    size = int(np.prod(rows))
    # gguf takes the shape in bytes for block formats and turns it back itself
    writer.add_tensor_info(name, rows, np.dtype(np.uint8), size, raw_dtype=kind)
