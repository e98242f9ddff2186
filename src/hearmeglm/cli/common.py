"""What every command shares: error lines and exit codes, JSON output, the two consoles."""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import HearmeError, UserError

if TYPE_CHECKING:
    from rich.console import Console

JsonFlag = Annotated[bool, typer.Option("--json", help="Print only JSON to stdout; everything else goes to stderr.")]


def run_app(app: typer.Typer) -> int:
    """Run the command line and turn exceptions into one line and an exit code."""
    os.environ.setdefault(
        "TRANSFORMERS_VERBOSITY", "error"
    )  # what libraries tell their developers is no news to a user
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)
    for stream in (sys.stdout, sys.stderr):  # a C locale or a Windows code page must not end a talk in Chinese
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        app(standalone_mode=True)
    except SystemExit as end:
        if end.code == 130:  # typer's code for Ctrl-C
            return _fail("interrupted; run the same command again to go on", 130)
        return end.code if isinstance(end.code, int) else 1
    except UserError as err:
        return _fail(str(err), 2)
    except HearmeError as err:
        return _fail(str(err), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(
                f"{err.filename or 'disk'}: no space left; nothing half-written is kept -> free some space and run the same command again",
                2,
            )
        if err.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return _fail(
                f"{err.filename}: expected a readable or writable path, found '{err.strerror}' -> check its permissions",
                2,
            )
        raise
    return 0


def _fail(line: str, code: int) -> int:
    print(f"hearme: {line}", file=sys.stderr)
    return code


def print_json(obj: Any) -> None:
    """The only thing that a command with `--json` writes to stdout."""
    print(json.dumps(obj, ensure_ascii=False))


def console(json_mode: bool = False) -> Console:
    """Rich console for people: stdout, or stderr when stdout belongs to JSON."""
    from rich.console import Console

    return Console(stderr=json_mode, soft_wrap=True, highlight=False)
