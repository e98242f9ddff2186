"""A browser, a studio process, and a tiny base for it. Skips, with the reason, where there is no Chromium or no playwright.

`HEARME_E2E=full` drives the shipped demo recipe instead of the tiny one; pictures go to `HEARME_E2E_OUT` (default build/e2e);
`HEARME_E2E_PATIENCE` is how many seconds a step may take (a busy machine needs more).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
FULL = os.environ.get("HEARME_E2E") == "full"
PATIENCE_S = float(os.environ.get("HEARME_E2E_PATIENCE", "900" if FULL else "180"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What every open page shows when a drive fails is kept beside the pictures."""
    report = yield
    context = getattr(item, "funcargs", {}).get("browser")
    if report.when == "call" and report.failed and context is not None:
        for n, page in enumerate(p for p in context.pages if p.url != "about:blank"):
            with suppress(Exception):
                page.screenshot(path=_pictures() / f"failed-{item.name}-{n}.png")
    return report


@pytest.fixture(
    scope="module"
)  # while playwright runs, its event loop is this thread's: later modules may need their own
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt install chromium)")
    with tempfile.TemporaryDirectory() as profile, playwright.sync_playwright() as p:
        context = p.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            args=FLAGS,
            headless=True,
            viewport={"width": 1280, "height": 900},
            locale="en-US",
        )
        context.set_default_timeout(PATIENCE_S / 4 * 1000)
        playwright.expect.set_options(timeout=PATIENCE_S / 4 * 1000)
        yield context
        context.close()


@pytest.fixture(scope="session")
def pictures() -> Path:
    return _pictures()


def _pictures() -> Path:
    out = Path(os.environ.get("HEARME_E2E_OUT", Path(__file__).parents[2] / "build" / "e2e"))
    out.mkdir(parents=True, exist_ok=True)
    return out


class Studio:
    """A studio process over a folder of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, folder / "runs"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "studio.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Studio:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "HEARME_CACHE": os.environ.get("HEARME_CACHE", str(Path.home() / ".cache" / "hearmeglm")),
        }
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hearmeglm", "studio", "--port", str(self.port), "--runs", str(self.runs)],
                stdout=log, stderr=log, cwd=self.folder, env=environment,
            )  # fmt: skip
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                urllib.request.urlopen(self.url + "/zh/", timeout=5).close()
                return self
            except OSError:
                time.sleep(0.3)
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory) -> Path:
    """A recipe on a tiny random model and a few dialogues of the packaged corpus."""
    from train.tiny import make_base

    folder = tmp_path_factory.mktemp("tiny")
    stage = {"batch_size": 2, "accumulation": 1, "max_length": 256, "dtype": "fp32", "eval_steps": 8, "trackers": []}
    recipe = {
        "name": "tiny", "description": "a tiny random model", "base": str(make_base(folder / "base")), "template": "gemma",
        "data": {
            "sources": {"starter": {"kind": "counselling", "licence": "CC-BY-4.0"}},
            "split": {"train": 0.8, "valid": 0.1, "test": 0.1, "reason": "80/10/10"},
            "limits": {"train": 16, "valid": 4, "test": 4},
        },
        "stages": {
            "stage1": {"mix": {"persona": 0.1, "starter": 0.2}, "epochs": 1, **stage},
            "stage2": {"mix": {"starter": 1}, "epochs": 2, **stage},
        },
        "lora": {"rank": 4, "alpha": 8},
        "evaluation": {"limit": 4, "batch_size": 4, "sampling": {"max_new_tokens": 16}},
    }  # fmt: skip
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def studio(browser, tmp_path_factory):
    made = Studio(tmp_path_factory.mktemp("studio")).start()
    yield made
    made.kill()
    for pid in made.runs.glob("*/jobs/*/pid.json"):  # what is still at work belongs to this test
        from hearmeglm.studio import jobs

        for job in jobs.jobs(pid.parents[2]):
            jobs.stop(job)
