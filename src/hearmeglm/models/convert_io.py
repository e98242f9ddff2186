"""Checkpoint files, tensor by tensor: read from safetensors or PyTorch .bin, written as safetensors without ever holding a file.

Nothing is mapped into memory and no code of a checkpoint is run. A slice of rows is a stretch of bytes, so copying one
needs a few MiB whatever the model's size. Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import pickle
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from ..errors import ModelError
from ..files import read_json

BLOCK = 8 << 20
"""Bytes copied at once."""
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
TORCH_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class Spec:
    """A tensor's number format (as safetensors spells it) and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * BYTES[self.dtype]

    @property
    def row_bytes(self) -> int:
        """Bytes of one step along the first dimension."""
        return math.prod(self.shape[1:]) * BYTES[self.dtype]


class TensorFile(Protocol):
    """One file of a checkpoint."""

    path: Path
    specs: Mapping[str, Spec]

    def rows(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes of rows `start` to `stop` (not included) of a tensor, in blocks."""
        ...


class SafetensorsFile:
    """A .safetensors file; only its head is read until rows are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            with open(path, "rb") as file:
                length = struct.unpack("<Q", file.read(8))[0]
                if length > min(size, 1 << 30):
                    raise ValueError("its head is longer than the file")
                head = json.loads(file.read(length))
            head.pop("__metadata__", None)
            self.specs: Mapping[str, Spec] = {k: Spec(v["dtype"], tuple(v["shape"])) for k, v in head.items()}
            self._begin = {k: 8 + length + v["data_offsets"][0] for k, v in head.items()}
            end = max((8 + length + v["data_offsets"][1] for v in head.values()), default=8 + length)
            if end > size:
                raise ValueError(f"expected {end} bytes, found {size}: an unfinished download?")
        except (OSError, ValueError, KeyError, TypeError, struct.error) as err:
            raise ModelError(f"expected a safetensors file, found {err}", where=str(path)) from None

    def rows(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        row = self.specs[name].row_bytes
        with open(self.path, "rb") as file:
            file.seek(self._begin[name] + start * row)
            left = (stop - start) * row
            while left:
                block = file.read(min(BLOCK, left))
                if not block:
                    raise ModelError(f"the file ends in the middle of {name}", where=str(self.path))
                left -= len(block)
                yield block


class BinFile:
    """A PyTorch .bin file, read with `weights_only`: a file that would run code is refused."""

    def __init__(self, path: Path) -> None:
        import torch

        names = {getattr(torch, v): k for k, v in TORCH_NAMES.items()}
        names |= {torch.int8: "I8", torch.uint8: "U8", torch.int64: "I64", torch.int32: "I32", torch.bool: "BOOL"}
        self.path = path
        specs = {}
        for key, value in self._load().items():
            if not torch.is_tensor(value) or value.dtype not in names:
                raise ModelError(f"expected tensors, found {key} of {type(value).__name__}", where=str(path))
            specs[key] = Spec(names[value.dtype], tuple(value.shape))
        self.specs: Mapping[str, Spec] = specs

    def _load(self) -> dict[str, Any]:
        import torch

        options: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
        try:
            try:
                tree = torch.load(self.path, mmap=True, **options)
            except RuntimeError:  # the format before PyTorch 1.6 cannot be mapped
                tree = torch.load(self.path, **options)
        except pickle.UnpicklingError:
            raise ModelError(
                "expected tensors only, found a file that would run code; refused",
                where=str(self.path),
                hint="get the safetensors version of this checkpoint",
            ) from None
        except (OSError, RuntimeError, EOFError, ValueError) as err:
            raise ModelError(f"expected a PyTorch file, found {str(err)[:160]}", where=str(self.path)) from None
        if not isinstance(tree, dict):
            raise ModelError(f"expected a dict of tensors, found {type(tree).__name__}", where=str(self.path))
        return tree

    def rows(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        import torch

        # Loaded anew for each tensor: mapped pages count as ours until the map is dropped.
        flat = self._load()[name][start:stop].contiguous().reshape(-1).view(torch.uint8)
        for at in range(0, flat.numel(), BLOCK):
            yield flat[at : at + BLOCK].numpy().tobytes()


def open_checkpoint(folder: Path) -> dict[str, TensorFile]:
    """Tensor name -> the file that holds it, for a checkpoint in one file or many.

    Raises:
        ModelError: no weights, shards missing or damaged.
    """
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        index = folder / f"{stem}{suffix}.index.json"
        single = folder / f"{stem}{suffix}"
        if index.is_file():
            names: dict[str, str] = read_json(index)["weight_map"]
            paths = sorted({folder / Path(file).name for file in names.values()})
        elif single.is_file():
            paths = [single]
        else:
            continue
        lost = [p.name for p in paths if not p.is_file()]
        if lost:
            raise ModelError(
                f"expected every shard of the index, found none of {', '.join(lost)}",
                where=str(folder),
                hint="finish the download",
            )
        kind = SafetensorsFile if suffix == ".safetensors" else BinFile
        files: list[TensorFile] = [kind(p) for p in paths]
        found = {name: file for file in files for name in file.specs}
        if index.is_file() and (absent := sorted(names.keys() - found.keys())):
            raise ModelError(f"the index names tensors that no shard holds: {', '.join(absent[:3])}", where=str(folder))
        return found
    raise ModelError("expected weights (safetensors or .bin), found none", where=str(folder))


def write_safetensors(out: IO[bytes], specs: Mapping[str, Spec], blocks: Iterator[bytes]) -> None:
    """Write head and data; `blocks` are the tensors' bytes in the order of `specs`."""
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, spec in specs.items():
        head[name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [at, at + spec.nbytes]}
        at += spec.nbytes
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out.write(struct.pack("<Q", len(text)) + text)
    written = 0
    for block in blocks:
        out.write(block)
        written += len(block)
    if written != at:
        raise ModelError(f"expected {at} bytes of tensors, wrote {written}")
