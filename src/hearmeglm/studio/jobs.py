"""Jobs: detached `hearme …` processes that outlive the browser and the studio, and are found again on return.

RUN/jobs/0003-train/job.json     what was asked: step, words of the command line, when
RUN/jobs/0003-train/log.txt      everything that it printed
RUN/jobs/0003-train/state.json   exit code and time, written by the worker when the command has ended
RUN/jobs/0003-train/lock         held for as long as worker or command live: alive means locked, whatever process ids say
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import RunError
from ..files import read_json, write_json

State = Literal["running", "done", "failed", "stopped", "lost"]
PATIENCE_S = 10.0
"""From so long after a first, polite stop on, a second one kills."""
_STEP = re.compile(r"\bstep (\d+)/(\d+)")


@dataclass(frozen=True)
class Job:
    """One job, as its folder tells.

    Attributes:
        step: `prepare`, `train`, `evaluate`, `export`, `report` …
        argv: the words after `hearme`.
        started, ended: seconds since 1970.
        state: `lost` means that it vanished without an exit code (a power cut, `kill -9`).
    """

    folder: Path
    step: str
    argv: tuple[str, ...]
    started: float
    state: State
    ended: float | None = None
    exit_code: int | None = None

    @property
    def command(self) -> str:
        """The same as a line for a shell in the studio's working directory."""
        import shlex

        return "hearme " + shlex.join(word.removeprefix(f"{Path.cwd()}/") for word in self.argv)

    @property
    def stopping(self) -> bool:
        """Whether somebody has asked it to stop."""
        return self.state == "running" and (self.folder / "stop").exists()

    def log(self, characters: int = 6000) -> str:
        """The end of what it printed, without carriage-return leftovers of progress bars."""
        with suppress(OSError), open(self.folder / "log.txt", "rb") as data:
            data.seek(max(0, data.seek(0, os.SEEK_END) - 4 * characters))
            text = data.read().decode("utf-8", "replace")
            return "\n".join(line.rsplit("\r", 1)[-1] for line in text.splitlines())[-characters:]
        return ""

    def error(self) -> str:
        """The one line that `hearme` ends with when it fails, or the log's last line."""
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        said = [line.removeprefix("hearme: ") for line in lines if line.startswith("hearme: ")]
        return (said or lines or [""])[-1]

    def progress(self) -> tuple[int, int] | None:
        """(done, all) steps as far as the log tells."""
        found = _STEP.findall(self.log())
        return (int(found[-1][0]), int(found[-1][1])) if found else None


def jobs(run: Path) -> list[Job]:
    """Every job of a run, the newest first."""
    folder = run / "jobs"
    found = [_read(p) for p in folder.glob("[0-9]*-*")] if folder.is_dir() else []
    return sorted((j for j in found if j), key=lambda j: j.folder.name, reverse=True)


def running(run: Path) -> Job | None:
    """The job that is at work in a run."""
    return next((j for j in jobs(run) if j.state == "running"), None)


def start(run: Path, step: str, argv: Sequence[str]) -> Job:
    """Start `hearme ARGV` as a process of its own that belongs to `run`.

    Raises:
        RunError: a job is already at work in this run (two would write over each other).
    """
    root = run / "jobs"
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".lock", "w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if busy := running(run):
            raise RunError(f"{busy.step!r} is still at work in this run", where=run.name, hint="wait, or stop it first")
        number = 1 + max((int(p.name.split("-")[0]) for p in root.glob("[0-9]*-*")), default=0)
        folder = root / f"{number:04d}-{step}"
        folder.mkdir()
        started = time.time()
        lock = open(folder / "lock", "a")  # noqa: SIM115  # inherited by the worker, so that it is held without a gap
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_json(folder / "job.json", {"step": step, "argv": list(argv), "started": started})
        with open(folder / "log.txt", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "hearmeglm.studio.worker", str(folder), str(lock.fileno())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, pass_fds=[lock.fileno()],
                env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "160"},
            )  # fmt: skip
        lock.close()
        write_json(folder / "pid.json", {"pid": process.pid})
        threading.Thread(target=process.wait, daemon=True).start()  # no zombie while the studio lives
    return Job(folder, step, tuple(argv), started, "running")


def stop(job: Job) -> None:
    """Ask the job to stop (as Ctrl-C does: what it has finished stays); asked again after `PATIENCE_S`, kill it."""
    if job.state != "running":
        return
    marker, force = job.folder / "stop", False
    if marker.exists():
        force = time.time() - marker.stat().st_mtime > PATIENCE_S
    else:
        marker.touch()
    with suppress(OSError):
        os.killpg(int(read_json(job.folder / "pid.json")["pid"]), signal.SIGKILL if force else signal.SIGINT)


def wait(job: Job, timeout_s: float = 600.0) -> Job:
    """The job once it has ended (for tests and scripts)."""
    until = time.monotonic() + timeout_s
    while (now := _read(job.folder)) is not None and now.state == "running" and time.monotonic() < until:
        time.sleep(0.2)
    return now or job


def _read(folder: Path) -> Job | None:
    try:
        asked: dict[str, Any] = read_json(folder / "job.json")
    except Exception:  # a folder that is being made just now
        return None
    # The lock is looked at before the state file, so that a job that ends in between is not taken for lost.
    alive = not _free(folder)
    ended: dict[str, Any] = read_json(folder / "state.json") if (folder / "state.json").is_file() else {}
    code = ended.get("exit_code")
    state: State
    if ended:
        state = "done" if code == 0 else "stopped" if (folder / "stop").exists() else "failed"
    elif alive:
        state = "running"
    else:
        state = "stopped" if (folder / "stop").exists() else "lost"
    return Job(folder, asked["step"], tuple(asked["argv"]), asked["started"], state, ended.get("ended"), code)


def _free(folder: Path) -> bool:
    """Whether nobody works on the job; a shared lock, so that two who look do not take each other for the worker."""
    with open(folder / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
