"""The two pictures of the terminal in the READMEs: `python scripts/chat_pictures.py [MODEL] [--out assets]`.

What stands in them was said by `hearme chat` itself, greedily. Output to a pipe does not repeat what is typed, so a talk is run once
more for each of its lines, and what a run says beyond the one before is the reply to its last line. Needs Chromium and playwright.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from playwright.sync_api import sync_playwright

from e2e.conftest import CHROMIUM, FLAGS
from hearmeglm.report.capture import draw

TALKS = {
    "zh": ("CN", ("你是谁？", "这周天天加班，昨晚躺到三点还是睡不着", "我真的不想活了")),
    "en": ("US", ("Who are you?", "My exam is tomorrow and I can't calm down", "I don't want to be alive anymore")),
}
"""Language -> region and what is typed."""


def said(arguments: list[str], lines: tuple[str, ...]) -> str:
    """What the command prints when these lines are typed."""
    command = [sys.executable, "-m", "hearmeglm", *arguments]
    typed = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(command, input=typed, capture_output=True, text=True, encoding="utf-8", check=True)
    return done.stdout


def main() -> None:
    """Talk, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="", help="RUN|MODEL; default: the Jerry that ships")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "assets", help="folder of the pictures")
    asked = parser.parse_args()
    model = asked.model or "jerry-270m"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for lang, (region, lines) in TALKS.items():
            arguments = ["chat", model, "--temperature", "0", "--lang", lang, "--region", region]
            before, parts = "", []
            for n, line in enumerate(lines, 1):
                out = said(arguments, lines[:n]).rstrip("\n")
                if not out.startswith(before):
                    sys.exit(f"expected the same replies again, found others: {out[:200]!r}")
                parts.append(f"\x1b[1;36m> {line}\x1b[0m\n{out[len(before) :].strip()}\n")
                before = out
            svg = draw(
                " ".join(["hearme", "chat", *([asked.model] if asked.model else []), *arguments[2:]]), "\n".join(parts)
            )
            size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
            assert size is not None
            page = browser.new_page(viewport={"width": round(float(size[1])) + 2, "height": round(float(size[2])) + 2})
            page.set_content(f"<body style='margin:0'>{svg}</body>")
            path = asked.out / f"chat-{lang}.png"
            page.screenshot(path=path)
            print(f"{path}  {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
