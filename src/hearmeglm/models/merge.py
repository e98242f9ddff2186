"""A model directory with its adapter folded in, one tensor at a time: a 6B model merges in the memory of one layer.

W' = W + s·B·A with s = alpha / r (LoRA) or alpha / sqrt(r) (rsLoRA, Kalajdzievski 2023); DoRA (Liu et al. 2024) then scales
each row of W' to the trained magnitude. All in float32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..files import read_json
from .convert_io import BLOCK, BinFile, SafetensorsFile, Spec, TensorFile, open_checkpoint

Array = NDArray[np.float32]
_PREFIX = "base_model.model."
_KIND = re.compile(r"(?P<module>.+)\.(?P<kind>lora_A|lora_B|lora_magnitude_vector)(?:\.weight)?")


class Weights:
    """The tensors of a model directory, an adapter's updates added.

    Attributes:
        names: tensor names in the order of the checkpoint.

    Raises:
        ModelError: weights missing, or an adapter that is not LoRA, rsLoRA or DoRA on linear layers of this base.
    """

    def __init__(self, folder: Path, adapter: Path | None = None) -> None:
        self._files = open_checkpoint(folder)
        self.names = list(self._files)
        self._adapter = _Adapter(adapter, self._files) if adapter is not None else None

    def spec(self, name: str) -> Spec:
        """Number format and shape in the base."""
        return self._files[name].specs[name]

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(math.prod(self.spec(n).shape) for n in self.names)

    @property
    def paths(self) -> list[Path]:
        """Every file that is read."""
        found = {f.path for f in self._files.values()}
        return sorted(found | ({self._adapter.path} if self._adapter else set()))

    def load(self, name: str) -> Array:
        """The merged tensor in float32, in its own shape."""
        value = read_array(self._files[name], name)
        return self._adapter.merge(name, value) if self._adapter else value


class _Adapter:
    def __init__(self, folder: Path, base: Mapping[str, TensorFile]) -> None:
        config = read_json(folder / "adapter_config.json")
        kind = config.get("peft_type")
        if kind != "LORA" or config.get("fan_in_fan_out") or config.get("bias", "none") != "none":
            raise ModelError(f"expected a LoRA adapter on linear layers, found {kind}", where=str(folder))
        if config.get("rank_pattern") or config.get("alpha_pattern"):
            raise ModelError("rank and alpha patterns by module are not merged here", where=str(folder))
        self._alpha, self._rs = float(config["lora_alpha"]), bool(config.get("use_rslora"))
        self.path = next(
            (
                folder / f"adapter_model{s}"
                for s in (".safetensors", ".bin")
                if (folder / f"adapter_model{s}").is_file()
            ),
            folder,
        )
        self._file: TensorFile = BinFile(self.path) if self.path.suffix == ".bin" else SafetensorsFile(self.path)
        self._parts: dict[str, dict[str, str]] = {}
        for key in self._file.specs:
            name = key.removeprefix(_PREFIX)
            match = _KIND.fullmatch(name)
            target = f"{match['module']}.weight" if match else name
            if target not in base:
                raise ModelError(f"the adapter does not fit this base: it has no {target}", where=str(folder))
            self._parts.setdefault(target, {})[match["kind"] if match else "whole"] = key

    def merge(self, name: str, weight: Array) -> Array:
        parts = self._parts.get(name)
        if not parts:
            return weight
        if "whole" in parts:  # a module that was trained and saved in full
            return read_array(self._file, parts["whole"])
        a, b = read_array(self._file, parts["lora_A"]), read_array(self._file, parts["lora_B"])
        if (b.shape[0], a.shape[1]) != weight.shape:
            raise ModelError(f"the adapter does not fit this base: {name} is {weight.shape}", where=str(self.path))
        rank = a.shape[0]
        merged = weight + (b @ a) * np.float32(self._alpha / (math.sqrt(rank) if self._rs else rank))
        if "lora_magnitude_vector" in parts:
            magnitude = read_array(self._file, parts["lora_magnitude_vector"]).reshape(-1)
            merged *= (magnitude / np.linalg.norm(merged, axis=1))[:, None]
        return merged


def read_array(file: TensorFile, name: str) -> Array:
    """A tensor in float32; raises ModelError if it is not in floating point."""
    spec = file.specs[name]
    raw = b"".join(file.rows(name, 0, spec.shape[0] if spec.shape else 1))
    if spec.dtype == "BF16":
        value = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif spec.dtype in ("F16", "F32", "F64"):
        value = np.frombuffer(raw, {"F16": np.float16, "F32": np.float32, "F64": np.float64}[spec.dtype]).astype(
            np.float32
        )
    else:
        raise ModelError(f"{name}: expected numbers in floating point, found {spec.dtype}", where=str(file.path))
    return value.reshape(spec.shape)


def to_bytes(value: Array, dtype: str) -> bytes:
    """`value` in another format (F32, F16, BF16), rounded to nearest, ties to even."""
    if dtype == "BF16":
        bits = np.ascontiguousarray(value).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()
    if dtype == "F16":
        return value.astype(np.float16).tobytes()
    return np.ascontiguousarray(value).tobytes()


@dataclass(frozen=True, slots=True)
class Merged:
    """A `convert.Piece`: one merged tensor in the format `dtype`."""

    weights: Weights
    name: str
    dtype: str

    @property
    def spec(self) -> Spec:
        return Spec(self.dtype, self.weights.spec(self.name).shape)

    @property
    def paths(self) -> list[Path]:
        return self.weights.paths

    @property
    def key(self) -> list[Any]:
        return [self.name, self.dtype]

    def read(self) -> Iterator[bytes]:
        data = to_bytes(self.weights.load(self.name), self.dtype)
        for at in range(0, len(data), BLOCK):
            yield data[at : at + BLOCK]
