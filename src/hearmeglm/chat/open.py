"""From RUN|MODEL to a ChatModel that answers."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..models.reference import ModelRef, resolve
from .model import ChatModel


def open_model(ref: str | ModelRef | None = None, *, dtype: str = "auto", device: str | None = None) -> ChatModel:
    """Load what `ref` means (see `models.reference`); None is the shipped Jerry.

    `OPENAI_API_KEY` is sent to https://api.openai.com only; any other server gets `HEARME_BACKEND_KEY`, if that is set.

    Raises:
        ModelError, RunError: nothing fits, or it cannot be loaded.
    """
    found = ref if isinstance(ref, ModelRef) else resolve(ref)
    if found.kind == "remote":
        from .remote_model import KEY, RemoteModel

        url = urlsplit(found.source)
        openai = (url.scheme, url.hostname) == ("https", "api.openai.com")
        return RemoteModel(found.source, found.name, "OPENAI_API_KEY" if openai else KEY, proxies=openai)
    if found.kind == "gguf":
        from .llamacpp_model import LlamaCppModel

        return LlamaCppModel(found.source, found.name)
    from .transformers_model import TransformersModel

    return TransformersModel.load(found, dtype=dtype, device=device)
