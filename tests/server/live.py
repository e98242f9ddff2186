"""A real server on a free loopback port, in a thread, for tests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from hearmeglm.server.app import Serving, build_app


@contextmanager
def live(serving: Serving) -> Iterator[str]:
    """Serve; gives the base URL without `/v1`."""
    with running(build_app(serving)) as url:
        yield url


@contextmanager
def running(app: ASGIApp) -> Iterator[str]:
    """Any ASGI application on a free port; gives its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            app, log_config=None, access_log=False, ws="none", lifespan="auto", timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
