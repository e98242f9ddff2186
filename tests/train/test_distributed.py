"""Two processes on gloo see the loss curve of one process with the same global batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hearmeglm.files import read_jsonl
from hearmeglm.run import RunDir

from .tiny import make_base, make_run


def launch(run: RunDir, processes: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", str(port), "--no-python",
        str(Path(sys.executable).parent / "hearme"), "train", str(run.path), "--stage", "stage1",
    ]  # fmt: skip
    out = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert out.returncode == 0, out.stderr[-3000:]
    assert out.stdout.count("stage1: done") == 1


@pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(), reason="needs gloo"
)
def test_two_processes_equal_one(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    logs = []
    for processes, accumulation in ((1, 2), (2, 1)):
        _, run = make_run(
            tmp_path / f"run{processes}", base, train=16, batch_size=2, accumulation=accumulation, epochs=1
        )
        launch(run, processes)
        logs.append([row for _, row in read_jsonl(run.path / "stage1" / "metrics.jsonl")])
    assert len(logs[0]) == len(logs[1])
    for one, two in zip(*logs, strict=True):
        for key in ("loss", "eval_loss"):
            assert one.get(key) == pytest.approx(two.get(key), rel=1e-4) if key in one else key not in two
        assert one.get("tokens") == two.get("tokens")
