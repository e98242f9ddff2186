"""The studio's server: both languages, the front, and the rules for opening it to others."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import HearmeError, UserError
from .app import desks, page
from .front import LOCAL, Front
from .store import Store

PASSWORD = "HEARME_STUDIO_PASSWORD"
SHORTEST = 10
PAPER = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; frame-ancestors 'self'"
"""A report shows its own pictures and does nothing."""
FONT = [
    "HearMe Emoji",
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "PingFang SC",
    "Microsoft YaHei",
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "sans-serif",
]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Noto Sans Mono CJK SC", "monospace"]


def make_app(root: Path, lang: str = "zh", password: str = "", hosts: set[str] | None = None) -> Front:
    """The ASGI app: `/zh/` and `/en/` over the runs in `root`.

    Args:
        lang: where `/` leads.
        password: login; empty for none.
        hosts: names it may be addressed by; None: any.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import gradio as gr
    from fastapi import FastAPI

    app: Any = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    style = Path(__file__).with_name("studio.css").read_text(encoding="utf-8")
    root.mkdir(parents=True, exist_ok=True)
    both = desks(root.resolve())
    _serve_reports(app, both[lang].store)
    for code, desk in both.items():
        blocks = page(desk)
        blocks.queue(default_concurrency_limit=4)
        app = gr.mount_gradio_app(
            app, blocks, f"/{code}", footer_links=[], run_history=False, allowed_paths=[str(root.resolve())], show_error=True, ssr_mode=False,
            enable_monitoring=False, pwa=False, theme=theme(), css=style, mcp_server=False,
        )  # fmt: skip
    return Front(app, lang, password, hosts)


def _serve_reports(app: Any, store: Store) -> None:
    """`/report/RUN/FILE`: a report for the preview, beside the page rather than inside its updates (it may be megabytes)."""
    from fastapi.responses import FileResponse, PlainTextResponse

    def report(run: str, name: str) -> Any:
        try:
            path = store.open(run).path / "report" / Path(name).name
        except HearmeError as err:
            return PlainTextResponse(str(err), 404)
        if path.suffix != ".html" or not path.is_file():
            return PlainTextResponse("expected an HTML report, found none", 404)
        return FileResponse(path, media_type="text/html", headers={"content-security-policy": PAPER})

    app.get("/report/{run}/{name}", response_model=None)(report)


def theme() -> Any:
    """A calm theme with the system's own fonts: nothing is fetched, and contrast is AA in light and dark."""
    import gradio as gr

    main = gr.themes.Color(
        "#eef6f8",
        "#d6e9ef",
        "#b0d3de",
        "#83b8c9",
        "#4f93a9",
        "#2a7389",
        "#1d6076",
        "#184e60",
        "#143f4e",
        "#10323e",
        "#0a222b",
    )
    made = gr.themes.Base(
        primary_hue=main,
        secondary_hue=main,
        neutral_hue="slate",
        font=FONT,
        font_mono=MONO,
        radius_size="md",
        text_size="md",
    )
    return made.set(
        body_background_fill="#f5f7f8", body_background_fill_dark="#11181c",
        block_background_fill="white", block_background_fill_dark="#182127",
        block_label_text_color="#40525c", block_label_text_color_dark="#c3d0d6",
        block_info_text_color="#51626d", block_info_text_color_dark="#aebcc3",
        body_text_color_subdued="#51626d", body_text_color_subdued_dark="#aebcc3",
        input_placeholder_color="#5d6d77", input_placeholder_color_dark="#a3b1b8",
        input_border_color="#84939b", input_border_color_dark="#66757d",
        button_primary_background_fill="*primary_600", button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700", button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white", button_primary_text_color_dark="white",
        button_cancel_background_fill="#a3262f", button_cancel_background_fill_dark="#a3262f",
        button_cancel_background_fill_hover="#83191f", button_cancel_background_fill_hover_dark="#83191f",
        button_cancel_text_color="white", button_cancel_text_color_dark="white",
        block_title_text_weight="600", block_border_width="1px",
    )  # fmt: skip


def password_for(host: str, login: bool) -> str:
    """The password that is asked for: none on this machine alone unless wanted, else `HEARME_STUDIO_PASSWORD` or one drawn now.

    Raises:
        UserError: the password is too short to stand on a network.
    """
    given = os.environ.get(PASSWORD, "")
    if given and len(given) < SHORTEST:
        raise UserError(
            f"expected a password of at least {SHORTEST} characters", where=PASSWORD, hint="unset it to have one drawn"
        )
    if host in LOCAL and not login and not given:
        return ""
    return given or secrets.token_urlsafe(12)


def serve(root: Path, host: str, port: int, lang: str, *, login: bool, tell: Callable[[str], None]) -> None:
    """Run the studio until Ctrl-C; jobs go on without it.

    Args:
        login: ask for a password even on this machine.
        tell: shows a line to the person who started it.

    Raises:
        UserError: the port is taken, or the password is too short.
    """
    import socket

    import uvicorn

    local = host in LOCAL
    password = password_for(host, login)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as err:
            raise UserError(
                f"expected a free port, found {err.strerror}", where=f"{host}:{port}", hint="choose another --port"
            ) from None
    app = make_app(root, lang, password, LOCAL if local else None)
    tell(f"http://{f'[{host}]' if ':' in host else host}:{port}/   (Ctrl-C: end; jobs go on  结束；任务会继续)")
    if password and PASSWORD not in os.environ:
        tell(f"password 密码: {password}")
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=2)
