"""Base models by name: the embedded one, a local directory, a hub id; with an adapter merged or on top."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .chatglm3 import is_chatglm3, native_dir
from .starter import starter_dir

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STARTER = "starter"


def base_dir(base: str) -> Path:
    """The local directory of a base; a hub id is downloaded first, an original ChatGLM3 is converted on first use.

    `starter` is the embedded model; `modelscope:org/name` comes from ModelScope; any other `org/name` from Hugging Face
    (its `HF_ENDPOINT` mirror variable is honoured by huggingface_hub itself).

    Raises:
        ModelError: nothing there, or a ChatGLM3 that cannot be converted.
    """
    if base == STARTER:
        return starter_dir()
    found = _found(base)
    return native_dir(found) if is_chatglm3(found) else found


def _found(base: str) -> Path:
    path = Path(base).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError("expected a model directory with config.json, found none", where=str(path))
        return path
    check_hub_id(base)
    try:
        if base.startswith("modelscope:"):
            return Path(_modelscope(base.removeprefix("modelscope:")))
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(base, ignore_patterns=["*.gguf", "*.onnx", "*.h5", "*.msgpack", "original/*"]))
    except ModelError:
        raise
    except Exception as err:  # every hub client has its own tree of errors; the user needs one line
        raise ModelError(
            f"expected a base model, could not get it from the hub: {str(err).splitlines()[0][:200]}",
            where=base,
            hint="check the id and the network, set HF_ENDPOINT to a mirror, or give a local directory",
        ) from None


def check_hub_id(name: str) -> None:
    """Raise ModelError if `name` is neither a place on this disk nor the shape of a hub id."""
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise ModelError(
            "expected a model directory or a hub id (org/name), found nothing",
            where=name,
            hint="`starter` is the embedded base",
        )


def _modelscope(name: str) -> str:
    try:
        from modelscope import snapshot_download
    except ImportError:
        raise ModelError(
            "ModelScope is not installed", where=name, hint="pip install 'hearmeglm[modelscope]'"
        ) from None
    return str(snapshot_download(name))


def default_dtype(device: str) -> torch.dtype:
    """bfloat16 where the processor multiplies it fast (AVX512-BF16, AMX, recent GPUs), else float32."""
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device == "mps":
        return torch.float16
    native = (
        getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    )
    return torch.bfloat16 if native else torch.float32


def default_device() -> str:
    """`cuda` or `mps` if present, else `cpu`; the variable `HEARME_DEVICE` decides otherwise."""
    import torch

    if wanted := os.environ.get("HEARME_DEVICE"):
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_dtype(name: str, device: str) -> torch.dtype:
    """`auto`, `bf16`, `fp16` or `fp32` (as recipes spell it) to a torch dtype."""
    import torch

    named = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    return named[name] if name in named else default_dtype(device)


def load_tokenizer(base: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The base's tokenizer (a fast one: templates need `split_special_tokens`), with a pad token.

    Raises:
        ModelError: none there, or a slow one.
    """
    from transformers import AutoTokenizer

    path = base_dir(base)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError) as err:
        raise ModelError(f"expected a tokenizer, found {_first_line(err)}", where=str(path)) from None
    if not tokenizer.is_fast:
        raise ModelError(
            "expected a fast tokenizer (tokenizer.json), found a slow one",
            where=str(path),
            hint="an original ChatGLM3 checkpoint: `hearme convert chatglm3`",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def quiet_libraries() -> None:
    """Only our own lines on the console: no advertising or progress bars of the libraries beneath."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()  # "Loading weights", a second or two
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # imported by peft; speaks of kernels nobody asked for
    for message in ("`is_gradient_checkpointing` is deprecated", "`gradient_checkpointing"):
        # peft 0.21 still calls the old names of transformers 5.23
        warnings.filterwarnings("ignore", message=message, category=FutureWarning)


def load_model(
    base: str,
    *,
    adapter: Path | str | None = None,
    merge: bool = True,
    dtype: str = "auto",
    device: str | None = None,
    trust_remote_code: bool = False,
    **options: Any,
) -> PreTrainedModel:
    """A causal language model in evaluation mode.

    Args:
        base: see `base_dir`.
        adapter: a PEFT adapter directory to put on the base.
        merge: fold the adapter into the weights (in float32, then back: half of the rounding) instead of keeping it apart.
        dtype: `auto`, `bf16`, `fp16`, `fp32`.
        options: go to `from_pretrained` (quantization_config, attn_implementation …).

    Raises:
        ModelError: base or adapter missing or not fitting.
    """
    from transformers import AutoModelForCausalLM

    quiet_libraries()
    device = device or default_device()
    path = base_dir(base)
    wanted = resolve_dtype(dtype, device)
    try:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=wanted, trust_remote_code=trust_remote_code, **options)
    except (OSError, ValueError, ImportError, KeyError) as err:
        raise ModelError(f"expected a causal language model, found {_first_line(err)}", where=str(path)) from None
    if adapter is not None:
        model = _with_adapter(model, Path(adapter), merge)
    return model.to(device).eval()


def _with_adapter(model: Any, adapter: Path, merge: bool) -> Any:
    from peft import PeftModel

    if not (adapter / "adapter_config.json").is_file():
        raise ModelError("expected a PEFT adapter (adapter_config.json), found none", where=str(adapter))
    try:
        if not merge:
            return PeftModel.from_pretrained(model, adapter)
        dtype = model.dtype
        return PeftModel.from_pretrained(model.float(), adapter).merge_and_unload().to(dtype)
    except (ValueError, RuntimeError, KeyError) as err:
        raise ModelError(f"the adapter does not fit this base: {_first_line(err)}", where=str(adapter)) from None


def _first_line(err: BaseException) -> str:
    return (str(err) or type(err).__name__).strip().splitlines()[0][:200]
