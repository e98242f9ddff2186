"""The whole way through the studio as a person goes it: data, plan, training, evaluation, chat A/B, export, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hearmeglm.studio.words import Words


class Walk:
    """One person in one browser tab.

    Args:
        page: a playwright page.
        words: the language that the pages are in.
        pictures: folder of the screenshots.
        patience_s: for jobs.
    """

    def __init__(self, page: Any, words: Words, pictures: Path, patience_s: float) -> None:
        self.page, self.w, self.pictures, self.patience = page, words, pictures, patience_s * 1000
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda r: self._request(r.url))
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("dialog", lambda d: d.accept())

    def _request(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:", "about:")):
            self.outside.append(url)

    def open(self, url: str, run: str = "") -> None:
        self.page.goto(f"{url}/{self.w.lang}/" + (f"?run={run}" if run else ""))
        self.page.get_by_role("tab").first.wait_for()
        self.page.wait_for_timeout(800)

    def shot(self, name: str) -> Path:
        path = self.pictures / f"{self.w.lang}-{name}.png"
        self.page.wait_for_timeout(700)
        self.page.screenshot(path=path, full_page=True)
        return path

    def tab(self, key: str) -> None:
        self.page.get_by_role("tab", name=self.w(key), exact=True).first.click()
        self.page.wait_for_timeout(500)

    def press(self, key: str) -> None:
        self.page.get_by_role("button", name=self.w(key), exact=True).locator("visible=true").first.click()

    def say(self, key: str) -> Any:
        return self.page.get_by_text(self.w(key).split("{")[0]).locator("visible=true").first

    def steps_done(self, count: int) -> None:
        """Wait until so many steps of the run are complete."""
        self.page.locator(".hm-steps li.done").nth(count - 1).wait_for(timeout=self.patience)

    def create(self, recipe: Path | str) -> None:
        if not self.page.get_by_role("button", name=self.w("run.create"), exact=True).is_visible():
            self.page.get_by_role("button", name=self.w("run.new")).first.click()
        if isinstance(recipe, Path):
            self.page.locator("input[type=file]").first.set_input_files(recipe)
            self.page.get_by_text(recipe.stem[:4]).first.wait_for()
        self.press("run.create")
        self.say("run.created").wait_for()

    def data(self) -> None:
        self.tab("tab.data")
        self.press("data.prepare")
        self.steps_done(1)
        self.page.get_by_text(self.w("data.splits")).wait_for()
        self.shot("1-data")
        self.tab("data.samples")
        self.say("who.assistant").wait_for()
        self.tab("data.privacy")
        self.press("privacy.do")
        self.say("privacy.found").wait_for()
        self.shot("2-privacy")
        self.tab("data.stats")

    def plan(self) -> None:
        self.tab("tab.train")
        self.press("train.plan.do")
        self.page.get_by_text(self.w("plan.parameters")).wait_for(timeout=self.patience)

    def train(self, stages: int = 2) -> None:
        self.press("train.start")
        self.page.locator("figure.hm-chart svg").locator("visible=true").first.wait_for(timeout=self.patience)
        self.shot("3-training")
        self.steps_done(1 + stages)
        self.page.wait_for_timeout(2500)
        self.shot("4-trained")

    def evaluate(self, done: int = 4) -> None:
        self.tab("tab.evaluate")
        self.press("eval.start")
        self.steps_done(done)
        self.page.get_by_text(self.w("eval.pairs")).wait_for(timeout=self.patience)
        self.shot("5-evaluation")
        self.tab("eval.browser")
        self.say("eval.reference").wait_for()
        self.shot("6-answers")

    def chat(self, said: str, danger: str) -> None:
        self.tab("tab.chat")
        self.page.get_by_label(self.w("chat.mode.blind"), exact=True).check()
        box = self.page.get_by_label(self.w("chat.say"), exact=True)
        box.fill(said)
        self.press("chat.send")
        self.say("vote.lead").wait_for(timeout=self.patience)
        self.shot("7-chat")
        self.page.get_by_label(self.w("vote.consent")).check()
        self.press("vote.b")
        self.say("vote.stored").wait_for()
        self.page.get_by_label(self.w("chat.mode.side"), exact=True).check()
        box.fill(danger)
        self.press("chat.send")
        self.say("guard.crisis").wait_for(timeout=self.patience)
        self.shot("8-guard")

    def export(self, kind: str = "hf") -> None:
        self.tab("tab.export")
        self.page.get_by_label(self.w(f"export.{kind}"), exact=True).check()
        self.press("export.do")
        self.page.get_by_text(self.w("export.made")).wait_for(timeout=self.patience)
        self.shot("9-export")

    def report(self) -> None:
        self.press("report.do")
        self.page.locator("iframe.hm-report").wait_for(timeout=self.patience)
        self.shot("10-report")

    def runs(self) -> None:
        self.tab("tab.runs")
        self.say("runs.command").wait_for()
        self.shot("11-runs")
