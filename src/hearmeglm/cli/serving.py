"""Commands: serve, sessions, keys."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..files import data_dir, write_json
from .common import JsonFlag, console, print_json
from .talk import ModelArg

if TYPE_CHECKING:
    from ..chat.sessions import SessionStore
    from ..safety.policy import Policy
    from ..server.auth import KeyFile

StoreOption = Annotated[Path, typer.Option("--sessions", help="The session database (`hearme serve --sessions FILE`).")]
KeyOption = Annotated[Path | None, typer.Option("--session-key", help="File with the database's encryption key.")]
KeysOption = Annotated[Path | None, typer.Option("--keys", help="File of the API keys; default in your data folder.")]
IdsArg = Annotated[list[str], typer.Argument(metavar="ID…", help="Ids that `hearme sessions list` shows.")]

sessions = typer.Typer(help="Kept talks: list, export, delete.", no_args_is_help=True)
keys = typer.Typer(help="API keys of `hearme serve`: create, list, revoke.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command()(serve)
    app.add_typer(sessions, name="sessions")
    app.add_typer(keys, name="keys")


def serve(
    model: ModelArg = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help=r"Instead of a model: an OpenAI-compatible server, http://host:port/v1\[#model]; may be repeated."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on. Beyond this machine: needs --policy.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port.")] = 8000,
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy",
            help="Others reach this address through a reverse proxy: policy and keys are needed as beyond this machine.",
        ),
    ] = False,
    policy: Annotated[
        Path | None, typer.Option(help="Signed policy file; `hearme guard policy --out FILE` writes one to fill in.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Whose hotlines to show: CN, HK, TW, US …; default: the policy's.")
    ] = None,
    guard: Annotated[
        bool, typer.Option("--guard/--no-guard", help="The safety guard; off only on this machine.")
    ] = True,
    notices: Annotated[
        bool,
        typer.Option(
            "--notices/--no-notices",
            help="Put the AI notice and reminders into replies; off where your front end shows them.",
        ),
    ] = True,
    keys: KeysOption = None,
    with_keys: Annotated[bool, typer.Option("--with-keys", help="Ask for API keys on this machine too.")] = False,
    sessions: Annotated[
        Path | None, typer.Option(help="Keep talks that name a session in this file; off by default.")
    ] = None,
    session_key: KeyOption = None,
    retention_days: Annotated[
        int | None,
        typer.Option(min=1, help="Delete kept messages after so many days; default: the policy's (30)."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Web origin that may call from a browser (CORS); may be repeated; none by default."),
    ] = None,
    users: Annotated[int, typer.Option(min=1, max=512, help="Replies made at the same time.")] = 8,
    waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait; more get 429.")] = 64,
    context: Annotated[int, typer.Option(min=256, help="Longest prompt and reply together, in tokens.")] = 2048,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply, in tokens.")] = 512,
    per_minute: Annotated[int, typer.Option(min=0, help="Requests a minute and key; 0: no bound.")] = 60,
    timeout: Annotated[float, typer.Option(min=1, help="Longest time a reply may take, in seconds.")] = 300,
) -> None:
    """Serve an OpenAI-compatible API with the guard inside: /v1/chat/completions, /v1/models, /health, /metrics."""
    from ..safety.hotlines import check_region
    from ..server.app import Serving
    from ..server.limits import Limits
    from ..server.opening import Opening
    from ..server.run import open_backend
    from ..server.run import serve as run

    out = console(json_mode=True)
    elsewhere = [model] if model and model.startswith(("http://", "https://")) else []
    opening = Opening(host, behind_proxy, guard, sessions is not None, (*(backend or ()), *elsewhere))
    signed = opening.policy(policy, retention_days, check_region(region) if region is not None else None)
    limits = Limits(
        new_tokens=max_new_tokens,
        default_tokens=min(256, max_new_tokens),
        per_minute=per_minute,
        running=users,
        waiting=waiting,
        reply_s=timeout,
    )
    allowed = _keys(keys) if opening.to_others or with_keys else None
    store = _open_store(sessions, session_key, signed, new=True) if sessions else None
    if store:
        signed = signed.model_copy(update={"retention_days": store.retention_days})
    inner = open_backend(model, backend or [], users=users, context=context)
    serving = Serving(
        model=inner,
        policy=signed if guard and signed.crisis_protocol else None,
        told=signed,
        notices=notices,
        limits=limits,
        keys=allowed,
        store=store,
        origins=tuple(allow_origin or ()),
        hosts=opening.hosts,
    )
    if allowed is not None and not len(allowed):
        out.print(f"API key (shown only now): [bold]{allowed.create('first')}[/bold]")
    out.print(
        f"{inner.name} on http://{host}:{port}/v1, guard {'on' if serving.policy else 'OFF'}, sessions {'kept' if store else 'not kept'}; Ctrl-C stops"
    )
    run(serving, host, port, out)


@sessions.command("list")
def list_sessions(store: StoreOption, session_key: KeyOption = None, json_out: JsonFlag = False) -> None:
    """Kept talks, the newest first."""
    with _open_store(store, session_key) as kept:
        found = kept.all()
    if json_out:
        print_json([s.to_json() for s in found])
        return
    for s in found:
        print(
            f"{s.id}  {time.strftime('%Y-%m-%d %H:%M', time.localtime(s.updated))}  {s.messages:4d} messages  {s.name}"
        )


@sessions.command("export")
def export_session(
    ids: IdsArg,
    store: StoreOption,
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    session_key: KeyOption = None,
    json_out: JsonFlag = False,
) -> None:
    """Everything that is kept about talks, as one JSON file."""
    with _open_store(store, session_key) as kept:
        talks = [kept.export(sid) for sid in ids]
    before = os.umask(0o077)  # readable by its owner only, as the database is
    try:
        write_json(out, talks)
    finally:
        os.umask(before)
    if json_out:
        print_json({"exported": len(talks), "out": str(out)})
    else:
        print(f"{len(talks)} talks -> {out}")


@sessions.command("delete")
def delete_sessions(
    store: StoreOption,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID…]", help="Ids that `hearme sessions list` shows.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every kept talk.")] = False,
    session_key: KeyOption = None,
    json_out: JsonFlag = False,
) -> None:
    """Wipe talks from the file for good; there is no way back."""
    from ..errors import UserError

    if bool(ids) == everything:
        raise UserError("expected ids of talks, or --all")
    with _open_store(store, session_key) as kept:
        gone = kept.delete(*(s.id for s in kept.all()) if everything else ids or ())
    if json_out:
        print_json({"deleted": gone})
    else:
        print(f"{gone} talks deleted")


@keys.command("create")
def create_key(name: Annotated[str, typer.Argument(help="Whose key it is.")], file: KeysOption = None) -> None:
    """Make an API key and show it this once; only its hash is kept."""
    print(_keys(file).create(name))


@keys.command("list")
def list_keys(file: KeysOption = None, json_out: JsonFlag = False) -> None:
    """Names of the keys and when they were made."""
    found = _keys(file).all()
    if json_out:
        print_json([{"name": k.name, "created": k.created} for k in found])
        return
    for k in found:
        print(f"{k.created}  {k.name}")


@keys.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(help="A name that `hearme keys list` shows.")], file: KeysOption = None
) -> None:
    """Forget a key; a running server refuses it from the next request on."""
    _keys(file).revoke(name)
    print(f"{name} revoked")


def _keys(file: Path | None) -> KeyFile:
    from ..server.auth import KeyFile

    return KeyFile(file or data_dir() / "keys.json")


def _open_store(path: Path, key: Path | None, policy: Policy | None = None, *, new: bool = False) -> SessionStore:
    from ..chat.sessions import SessionStore, read_key
    from ..errors import DataError

    for file in () if new else filter(None, (path, key)):
        if not file.is_file():
            raise DataError("expected a file, found nothing", where=str(file))
    set_to, at_first = (policy.retention, policy.retention_days) if policy else (None, None)
    return SessionStore(path, key=read_key(key) if key else None, retention_days=set_to, at_first=at_first)
