"""Jobs outlive whoever started them, say how they ended, and can be stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from hearmeglm.errors import RunError
from hearmeglm.studio import jobs


@pytest.fixture
def sleeping(monkeypatch, tmp_path):
    """`hearme …` replaced by a program that sleeps (and ends with 130 on Ctrl-C, as hearme does)."""
    package = tmp_path / "path" / "hearmeglm_sleep.py"
    package.parent.mkdir()
    package.write_text(
        "import sys, time\ntry:\n    print('step 3/9 loss 1.0', flush=True); time.sleep(120)\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    wrapper = tmp_path / "python"
    wrapper.write_text(
        f'#!/bin/sh\nif [ "$2" = hearmeglm ]; then exec {sys.executable} {package}; fi\nexec {sys.executable} -c "import sys; sys.executable={str(wrapper)!r}; sys.argv=sys.argv[1:]; import runpy; runpy.run_module(sys.argv[0], run_name=\'__main__\', alter_sys=True)" "$2" "$3" "$4"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))
    return tmp_path / "run"


def _until(true, timeout_s=20.0):
    end = time.monotonic() + timeout_s
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    assert true()


def test_a_job_runs_the_command_and_keeps_its_log(tmp_path):
    job = jobs.wait(jobs.start(tmp_path, "show", ["models", "templates"]), 60)
    assert (job.state, job.exit_code) == ("done", 0)
    assert "gemma" in job.log()
    assert job.command == "hearme models templates"


def test_a_failed_job_says_why(tmp_path):
    job = jobs.wait(jobs.start(tmp_path, "prepare", ["prepare", str(tmp_path / "none.yaml")]), 60)
    assert (job.state, job.exit_code) == ("failed", 2)
    assert "recipe" in job.error()
    assert not job.error().startswith("hearme:")


def test_two_jobs_in_one_run_are_refused_and_stopping_leaves_no_process(sleeping):
    job = jobs.start(sleeping, "train", ["train", "x"])
    with pytest.raises(RunError, match="still at work"):
        jobs.start(sleeping, "evaluate", ["evaluate", "x"])
    _until(lambda: job.progress() == (3, 9))
    jobs.stop(job)
    assert jobs.wait(job, 20).state == "stopped"
    assert jobs.running(sleeping) is None


def test_killed_jobs_are_lost_and_not_taken_for_running(sleeping):
    job = jobs.start(sleeping, "train", ["train", "x"])
    _until(lambda: (job.folder / "pid.json").is_file() and bool(job.progress()))
    os.killpg(int(jobs.read_json(job.folder / "pid.json")["pid"]), signal.SIGKILL)
    _until(lambda: jobs.jobs(sleeping)[0].state != "running")
    assert jobs.jobs(sleeping)[0].state == "lost"


def test_a_job_outlives_the_process_that_started_it(sleeping):
    python = os.path.join(sys.prefix, "bin", "python")
    code = f"import sys, time; sys.executable={sys.executable!r}; from pathlib import Path; from hearmeglm.studio import jobs; jobs.start(Path({str(sleeping)!r}), 'train', ['train']); print('on', flush=True); time.sleep(60)"
    starter = subprocess.Popen([python, "-c", code], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    assert starter.stdout.readline().strip() == b"on"
    starter.kill()
    starter.wait()
    starter.stdout.close()
    job = jobs.running(sleeping)
    assert job is not None
    jobs.stop(job)
    assert jobs.wait(job, 20).state == "stopped"
