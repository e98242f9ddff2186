"""A killed training goes on and ends with the same bytes; checkpoints are whole or do not count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hearmeglm.train import checkpoints

HERE = Path(__file__).parent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_at_random_points_end_with_the_weights_of_an_uninterrupted_run(tmp_path: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "kill_worker.py"), str(tmp_path), "6", "7"],
        capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=HERE,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr[-2000:]
    result = json.loads(out.stdout.splitlines()[-1])
    assert result["kills"] == 6  # twenty by hand: python tests/train/kill_worker.py FOLDER 20 7
    assert result["equal"]
    assert max(result["sealed"]) > 0, "no kill came late enough to leave a checkpoint"


def sealed(root: Path, step: int, text: str = "weights") -> Path:
    folder = checkpoints.at(root, step)
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_text(text)
    checkpoints.seal(folder)
    return folder


def test_only_a_verified_checkpoint_is_resumed(tmp_path: Path) -> None:
    good, damaged = sealed(tmp_path, 9), sealed(tmp_path, 10)
    (damaged / "adapter_model.safetensors").write_text("weightz")
    unsealed = checkpoints.at(tmp_path, 11)
    unsealed.mkdir()
    assert checkpoints.newest(tmp_path) == good
    checkpoints.clean(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-9"]


def test_the_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8, 10):
        sealed(tmp_path, step)
    checkpoints.prune(tmp_path, best=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-4", "checkpoint-8"]


def test_checkpoints_of_other_inputs_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    checkpoints.bind(root, {"recipe": "a"})
    sealed(root, 3)
    checkpoints.bind(root, {"recipe": "a"})
    assert checkpoints.newest(root) is not None
    checkpoints.bind(root, {"recipe": "b"})
    assert checkpoints.newest(root) is None
