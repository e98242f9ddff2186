"""Kill a training again and again with SIGKILL and let it go on: `python kill_worker.py FOLDER KILLS SEED`; prints JSON.

The libraries are imported once; every attempt is a forked child, so that an attempt costs a second and not ten.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import tiny

import hearmeglm.train.trainer  # noqa: F401  (imported before the fork)
from hearmeglm.recipe import Recipe
from hearmeglm.run import RunDir
from hearmeglm.train.stage import train_stage


def attempt(recipe: Recipe, run: RunDir, kill_after: float | None) -> bool:
    """Train in a child; True if it ended by itself, False if it was killed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            if kill_after is not None:
                os.dup2(null, 2)
            train_stage(recipe, run, "stage1")
            code = 0
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, "the training failed"
    return True


def weights(run: RunDir) -> str:
    return hashlib.sha256((run.path / "stage1" / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    base = tiny.make_base(folder / "base")
    options = {"epochs": 4, "eval_steps": 3, "save_steps": 1, "patience": 3, "neftune": 5.0, "learning_rate": 2e-2}
    lora = {"dropout": 0.1}  # dropout and NEFTune draw random numbers: the generator's state must be restored as well
    recipe, run = tiny.make_run(folder / "whole", base, lora=lora, **options)
    begun = time.monotonic()
    assert attempt(recipe, run, None)
    whole = time.monotonic() - begun
    want = weights(run)
    _, run = tiny.make_run(folder / "killed", base, lora=lora, **options)
    draw = random.Random(seed)
    done = finished = 0
    resumed_from = []
    while done < kills:
        if attempt(recipe, run, draw.uniform(0.05, 1.1) * whole):
            finished += 1
            assert weights(run) == want, "finished with other weights"
            shutil.rmtree(run.path / "stage1")
        else:
            done += 1
            resumed_from.append(len(list((run.path / "stage1" / "checkpoints").glob("checkpoint-*/seal.json"))))
    attempt(recipe, run, None)
    rows = (run.path / "stage1" / "metrics.jsonl").read_text().splitlines()
    print(
        json.dumps(
            {
                "kills": done,
                "finished": finished,
                "equal": weights(run) == want,
                "seconds": whole,
                "sealed": resumed_from,
                "rows": len(rows),
            }
        )
    )


if __name__ == "__main__":
    main()
