"""Which tensor gets which GGML number format, and how it is made.

The quantiser is ggml's own (`ggml_quantize_chunk`, a stable C function that the xllamacpp wheel exports), which has the
K-quants too; without that wheel the `gguf` package does the simple formats, with the same bytes.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import gguf
import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .merge import Array

if TYPE_CHECKING:
    Kind: TypeAlias = Any  # gguf brings no types
else:
    Kind = gguf.GGMLQuantizationType


@dataclass(frozen=True, slots=True)
class Quant:
    """A preset as llama.cpp names it.

    Attributes:
        kind: format of the matrices.
        output: format of the output layer (and of the embedding, where they are one tensor).
        more: format of the values' and the MLP's down projection in those layers where llama.cpp spends more bits.
        file: the code of the preset in the file's head.
    """

    kind: Kind
    output: Kind
    more: Kind
    file: gguf.LlamaFileType


def _same(kind: Kind, file: str, output: Kind | None = None, more: Kind | None = None) -> Quant:
    return Quant(kind, output or kind, more or kind, gguf.LlamaFileType[file])


QUANTS = {
    "f32": _same(Kind.F32, "ALL_F32"),
    "f16": _same(Kind.F16, "MOSTLY_F16"),
    "bf16": _same(Kind.BF16, "MOSTLY_BF16"),
    "q8_0": _same(Kind.Q8_0, "MOSTLY_Q8_0"),
    "q6_k": _same(Kind.Q6_K, "MOSTLY_Q6_K"),
    "q5_1": _same(Kind.Q5_1, "MOSTLY_Q5_1"),
    "q5_0": _same(Kind.Q5_0, "MOSTLY_Q5_0"),
    "q5_k_m": _same(Kind.Q5_K, "MOSTLY_Q5_K_M", Kind.Q6_K, Kind.Q6_K),
    "q4_1": _same(Kind.Q4_1, "MOSTLY_Q4_1"),
    "q4_0": _same(Kind.Q4_0, "MOSTLY_Q4_0"),
    "q4_k_m": _same(Kind.Q4_K, "MOSTLY_Q4_K_M", Kind.Q6_K, Kind.Q6_K),
    "q3_k_m": _same(Kind.Q3_K, "MOSTLY_Q3_K_M", Kind.Q6_K, Kind.Q4_K),
    "q2_k": _same(Kind.Q2_K, "MOSTLY_Q2_K", Kind.Q6_K, Kind.Q3_K),
}
FALLBACK = {
    Kind.Q2_K: Kind.Q4_0, Kind.Q3_K: Kind.Q4_0, Kind.Q4_K: Kind.Q5_0, Kind.Q5_K: Kind.Q5_1, Kind.Q6_K: Kind.Q8_0,
}  # fmt: skip
"""For rows that are no multiple of 256 numbers, as llama.cpp does it."""


def find_quant(name: str) -> Quant:
    """A preset by name, in any case; raises ModelError for an unknown one."""
    if name.lower() not in QUANTS:
        raise ModelError(f"expected a quantisation, found {name!r}", hint=f"one of {', '.join(QUANTS)}")
    return QUANTS[name.lower()]


def choose(quant: Quant, tensor: str, shape: tuple[int, ...], layers: int, tied: bool) -> Kind:
    """The format of one tensor by its GGUF name: vectors stay in float32."""
    if len(shape) < 2 or "norm" in tensor:
        return Kind.F32
    kind = quant.kind
    if tensor == "output.weight" or (tied and tensor == "token_embd.weight"):
        kind = quant.output
    elif tensor.endswith(("attn_v.weight", "ffn_down.weight")):
        layer = int(tensor.split(".")[1])
        # llama.cpp's "use more bits": the first and last eighth of the layers and every third between.
        if layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2:
            kind = quant.more
    width = shape[-1]
    if width % gguf.GGML_QUANT_SIZES[kind][0]:
        kind = FALLBACK.get(kind, Kind.F16)
    return kind if width % gguf.GGML_QUANT_SIZES[kind][0] == 0 else Kind.F16


def quantize(value: Array, kind: Kind) -> NDArray[Any]:
    """Rows of float32 in another format: float arrays keep their shape, blocks become rows of bytes.

    Raises:
        ModelError: a K-quant without the wheel that brings the quantiser.
    """
    if kind == Kind.F32:
        return np.ascontiguousarray(value, np.float32)
    if kind == Kind.F16:
        return np.ascontiguousarray(value, np.float16)
    native = _ggml()
    if native is None:
        try:
            made: NDArray[Any] = gguf.quants.quantize(value, kind)
            return made
        except NotImplementedError:
            raise ModelError(
                f"{kind.name} needs ggml's quantiser",
                hint="pip install 'hearmeglm[llamacpp]', or choose q8_0, q5_0, q4_0",
            ) from None
    rows, width = value.shape
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.empty((rows, width // block * size), np.uint8)
    source = np.ascontiguousarray(value, np.float32)
    wrote = native(kind.value, source.ctypes.data, out.ctypes.data, 0, rows, width, None)
    if wrote != out.nbytes:
        raise ModelError(f"ggml wrote {wrote} bytes for {kind.name}, expected {out.nbytes}")
    return out


@lru_cache(maxsize=1)
def _ggml() -> Any:
    try:
        from xllamacpp import xllamacpp

        function = ctypes.CDLL(xllamacpp.__file__).ggml_quantize_chunk
    except (ImportError, OSError, AttributeError):
        return None
    wide, pointer = ctypes.c_int64, ctypes.c_void_p
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, pointer, pointer, wide, wide, wide, pointer]
    return function
