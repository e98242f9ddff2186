"""Open the backend and serve until told to stop."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..chat.model import ChatModel
from ..errors import UserError
from ..models.reference import ModelRef, resolve
from .app import Serving, build_app
from .pool import open_backends

if TYPE_CHECKING:
    from rich.console import Console

GRACE_S = 30
"""How long replies may go on after the signal to stop, in seconds."""
HEADER_BYTES = 32_768
SPARE = 500
"""Connections beyond those that are answered or wait: idle ones, `/health`, refusals. More get uvicorn's own 503 at once; the sum
stays below the 1024 open files that a process may have by default."""


def open_backend(ref: str | None, urls: Sequence[str], *, users: int, context: int) -> ChatModel:
    """The model behind the server, made for `users` replies at a time of at most `context` tokens each.

    Raises:
        ModelError, RunError: it cannot be loaded or reached.
        UserError: both a model and backends are named.
    """
    if urls:
        if ref is not None:
            raise UserError(f"expected a model or --backend, found both ({ref})")
        return open_backends(urls)
    found: ModelRef = resolve(ref)
    if found.kind == "remote":
        return open_backends([f"{found.source}#{found.name}" if found.name != found.source else found.source])
    if found.kind == "gguf":
        from ..chat.llamacpp_model import LlamaCppModel

        return LlamaCppModel(found.source, found.name, context=context * users, talk=context, users=users)
    from ..chat.transformers_model import TransformersModel
    from .batching import BatchedModel

    one = TransformersModel.load(found)
    return BatchedModel(
        one.model,
        one.tokenizer,
        one.template,
        one.name,
        rows=users,
        context=context,
        dry_multiplier=one.dry_multiplier,
    )


def serve(serving: Serving, host: str, port: int, console: Console) -> None:
    """Serve until SIGINT or SIGTERM; replies on their way may end (`GRACE_S`), new connections are refused.

    Raises:
        UserError: the address is taken or not ours.
    """
    import uvicorn

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("hearmeglm").setLevel(logging.INFO)

    class Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn is not followed by mypy
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """As uvicorn's, without raising the signal again at the end: being told to stop is not a failure."""

            def stop(sig: int, frame: FrameType | None) -> None:
                if not self.should_exit:
                    console.print("stopping: replies on their way may end …")
                self.handle_exit(sig, frame)

            before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for s, handler in before.items():
                    signal.signal(s, handler)

    config = uvicorn.Config(
        build_app(serving),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http="h11",
        lifespan="on",
        h11_max_incomplete_event_size=HEADER_BYTES,
        limit_concurrency=serving.limits.running + serving.limits.waiting + SPARE,
        timeout_graceful_shutdown=GRACE_S,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    with _listen(host, port) as socket:
        Server(config).run(sockets=[socket])
    close: Any = getattr(serving.model, "close", None)
    if close:
        close()


def _listen(host: str, port: int) -> Any:
    import socket

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), port), family=family, backlog=256)
    except OSError as err:
        raise UserError(
            f"cannot listen there: {err.strerror or err}",
            where=f"{host}:{port}",
            hint="choose another --port or --host",
        ) from None
