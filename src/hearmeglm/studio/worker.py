"""The process between studio and command: runs `hearme …` and writes down how it ended. `python -m hearmeglm.studio.worker FOLDER LOCK`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from ..files import read_json, write_json


def main(folder: Path, lock: int) -> int:
    """Run the job of `folder`; `lock` is the inherited descriptor of its lock, passed on so that it lasts as long as the command."""
    # A handler, not "ignore": the command inherits ignored signals, but starts with handlers reset to their defaults.
    signal.signal(signal.SIGINT, lambda *_: None)
    argv = read_json(folder / "job.json")["argv"]
    code = subprocess.run([sys.executable, "-m", "hearmeglm", *argv], pass_fds=[lock]).returncode
    write_json(folder / "state.json", {"exit_code": code, "ended": time.time()})
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
