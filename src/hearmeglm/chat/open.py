"""From RUN|MODEL to a ChatModel that answers."""

from __future__ import annotations

from ..models.reference import ModelRef, resolve
from .model import ChatModel


def open_model(ref: str | ModelRef | None = None, *, dtype: str = "auto", device: str | None = None) -> ChatModel:
    """Load what `ref` means (see `models.reference`); None is the shipped Jerry.

    Raises:
        ModelError, RunError: nothing fits, or it cannot be loaded.
    """
    found = ref if isinstance(ref, ModelRef) else resolve(ref)
    if found.kind == "remote":
        from .remote_model import RemoteModel

        return RemoteModel(found.source, found.name)
    if found.kind == "gguf":
        from .llamacpp_model import LlamaCppModel

        return LlamaCppModel(found.source, found.name)
    from .transformers_model import TransformersModel

    return TransformersModel.load(found, dtype=dtype, device=device)
