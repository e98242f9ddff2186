"""Commands: studio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import console


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("studio")(studio)


def studio(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond 127.0.0.1 a login and a policy file are required.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    lang: Annotated[str, typer.Option(help="Language of the first page: zh or en.")] = "zh",
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    policy: Annotated[
        Path | None, typer.Option(help="Policy file (`hearme guard policy --out FILE`), needed to open to others.")
    ] = None,
    login: Annotated[
        bool,
        typer.Option(
            "--login", help="Ask for a password on 127.0.0.1 too (HEARME_STUDIO_PASSWORD, else one is drawn)."
        ),
    ] = False,
) -> None:
    """The whole way in a browser, in Chinese and English: data, training, evaluation, chat, export, report. | 可视化工作台。"""
    from ..errors import UserError
    from ..safety.policy import may_open

    if lang not in ("zh", "en"):
        raise UserError(f"expected zh or en, found {lang!r}", where="--lang")
    may_open(host, policy)
    console().print("starting the studio … 正在启动工作台 …")
    from ..studio.serve import serve

    serve(runs, host, port, lang, login=login, tell=lambda line: console().print(line))
