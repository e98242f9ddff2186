"""Pictures of the studio, from any run: the four of README and docs, or those of the report's four moments.

    python scripts/studio_pictures.py RUN [--out assets]
    python scripts/studio_pictures.py RUN --captures        # into RUN/captures, where `hearme report` finds them

The run is copied first, so nothing else is written into it (the audit is made in the copy). Needs Chromium and playwright, as
`make e2e` does, and the run's base model for the chat.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from e2e.conftest import CHROMIUM, FLAGS, Studio
from e2e.walk import SETTLED, Walk
from hearmeglm.run import RunDir
from hearmeglm.studio import words

SIZE = {"width": 1400, "height": 1000}
PATIENCE_S = 600.0
LARGEST = 240_000
"""Bytes of a picture in the repository."""
SAY = "最近总是睡不好，心里空落落的。😢"


def main() -> None:
    """Take them all, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "assets", help="folder of the pictures")
    parser.add_argument("--only", nargs="*", choices=list(PICTURES), default=list(PICTURES), help="which ones")
    parser.add_argument(
        "--captures", action="store_true", help="those of the report, into the run's folder of captures"
    )
    asked = parser.parse_args()
    wanted = {f"studio-{name}.png": PICTURES[name] for name in asked.only}
    if asked.captures:
        asked.out = asked.run / RunDir.open(asked.run).recipe.report.captures
        wanted = {f"studio-{moment}.png": ("zh", take) for moment, take in CAPTURES.items()}
    expect.set_options(timeout=PATIENCE_S * 1000)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        studio = Studio(Path(folder))
        shutil.copytree(asked.run, studio.runs / asked.run.name)
        studio.start()
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for name, (lang, take) in wanted.items():
                context = browser.new_context(viewport=SIZE)
                context.set_default_timeout(PATIENCE_S * 1000)
                walk = Walk(context.new_page(), words.load(lang), Path(folder), PATIENCE_S)
                take(walk, studio.url, asked.run.name)
                path = asked.out / name
                _save(walk, path)
                print(f"{path}  {path.stat().st_size / 1000:.0f} KB")
                context.close()
        finally:
            studio.kill()


def _train(walk: Walk, url: str, run: str) -> None:
    walk.open(url, run, "train")
    walk.chart().wait_for()
    _top(walk, "[role=tablist]")


def _evaluate(walk: Walk, url: str, run: str) -> None:
    walk.open(url, run, "evaluate")
    walk.see("eval.pairs")


def _chat(walk: Walk, url: str, run: str) -> None:
    walk.open(url, run, "chat")
    walk.page.get_by_label(walk.w("chat.mode.blind"), exact=True).check()
    walk.ask(SAY)
    walk.see("vote.lead", PATIENCE_S)
    _top(walk, "[role=tablist]")


def _audit(walk: Walk, url: str, run: str) -> None:
    walk.open(url, run, "data")
    walk.tab("data.audit")
    walk.press("audit.do")
    walk.see("audit.leaks", PATIENCE_S)
    walk.page.locator(".hm-pulse").wait_for(state="hidden")


PICTURES: dict[str, tuple[str, Callable[[Walk, str, str], None]]] = {
    "train-zh": ("zh", _train),
    "evaluate-en": ("en", _evaluate),
    "chat-zh": ("zh", _chat),
    "data-zh": ("zh", _audit),
}
"""Name -> language of the page and the way to what is shown."""
CAPTURES = {"setup": _audit, "training": _train, "evaluation": _evaluate, "inference": _chat}
"""Moment of the report -> the way to what is shown."""


def _top(walk: Walk, selector: str) -> None:
    """Scroll until that is the first thing to be seen."""
    walk.page.locator(selector).locator("visible=true").first.evaluate("node => node.scrollIntoView()")


def _save(walk: Walk, path: Path) -> None:
    """A picture of what is in the window, in 256 colours where it would be large otherwise."""
    walk.page.evaluate(SETTLED)
    raw = walk.pictures / path.name
    walk.page.screenshot(path=raw)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(raw).convert("RGB")
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
