"""The whole way through the studio as a person goes it: data, plan, training, evaluation, chat A/B, export, report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from hearmeglm.studio.words import Words

SETTLED = "() => document.fonts.ready.then(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1)))))"
"""Resolves when the page has been drawn with its fonts."""


class Walk:
    """One person in one browser tab. Every wait is for something to be seen, with a time-out.

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

    # Looking and pressing

    def open(self, url: str, run: str = "", tab: str = "") -> None:
        query = "&".join(f"{k}={v}" for k, v in (("run", run), ("tab", tab)) if v)
        self.page.goto(f"{url}/{self.w.lang}/" + (f"?{query}" if query else ""))
        self.page.locator("[role=tab]").locator("visible=true").first.wait_for()
        # what the page's first events fill in, and with it they have run
        expect(self.page.locator(".hm-steps" if run else ".hm-steps, .hm-note.empty").first).to_be_visible()

    def shot(self, name: str) -> Path:
        path = self.pictures / f"{self.w.lang}-{name}.png"
        self.page.evaluate(SETTLED)
        self.page.screenshot(path=path, full_page=True)
        return path

    def tab(self, key: str) -> None:
        """Choose a tab; on a phone some are behind a menu."""
        name = self.w(key)
        tab = self.page.get_by_role("tab", name=name, exact=True).locator("visible=true").first
        if tab.count():
            tab.click()
            expect(tab).to_have_attribute("aria-selected", "true")
        else:
            self.page.locator(".overflow-menu > button").locator("visible=true").first.click()
            self.page.locator(".overflow-dropdown button", has_text=name).first.click()
            expect(self.page.locator(".overflow-dropdown").locator("visible=true")).to_have_count(0)

    def button(self, key: str) -> Any:
        return self.page.get_by_role("button", name=self.w(key), exact=True).locator("visible=true").first

    def press(self, key: str) -> None:
        self.button(key).click()

    def see(self, key: str, wait_s: float | None = None) -> None:
        """Wait until the words of a key (up to a placeholder) are on the page."""
        told = self.page.get_by_text(self.w(key).split("{")[0].strip()).locator("visible=true").first
        expect(told).to_be_visible(timeout=wait_s * 1000 if wait_s else None)

    def open_accordion(self, key: str) -> None:
        head = self.page.get_by_role("button", name=re.compile(f"^{re.escape(self.w(key))}")).locator("visible=true")
        head.first.click()

    def steps_done(self, count: int) -> None:
        """Wait until so many steps of the run are complete and no job is at work."""
        done = self.page.locator(".hm-steps li.done")
        expect(done).to_have_count(count, timeout=self.patience)
        expect(self.page.locator(".hm-pulse")).to_have_count(0, timeout=self.patience)

    def chart(self) -> Any:
        return self.page.locator("figure.hm-chart svg").locator("visible=true").first

    # The steps of the way

    def create(self, recipe: Path | str) -> None:
        create = self.page.get_by_role("button", name=self.w("run.create"), exact=True)
        if not create.is_visible():
            self.open_accordion("run.new")
        if isinstance(recipe, Path):
            self.page.locator("input[type=file]").first.set_input_files(recipe)
            expect(self.page.locator(".file-preview").first).to_be_visible()
        create.click()
        self.see("run.created")
        expect(self.page.locator(".hm-steps li.next")).to_be_visible()
        expect(self.page.locator(".hm-steps li.done")).to_have_count(0)

    def data(self) -> None:
        self.tab("tab.data")
        self.press("data.prepare")
        self.steps_done(1)
        self.see("data.splits")
        self.shot("1-data")
        self.tab("data.samples")
        self.see("who.assistant")
        self.shot("1-samples")
        self.tab("data.audit")
        self.press("audit.do")
        self.see("audit.leaks", self.patience / 1000)
        expect(self.page.locator(".hm-pulse")).to_have_count(0, timeout=self.patience)
        self.shot("1-audit")
        self.tab("data.privacy")
        self.press("privacy.do")
        self.see("privacy.found")
        self.shot("2-privacy")
        self.tab("data.stats")

    def plan(self) -> None:
        self.tab("tab.train")
        self.press("train.plan.do")
        self.see("plan.parameters", self.patience / 1000)
        self.shot("3-plan")

    def train(self, stages: int = 2) -> None:
        self.press("train.start")
        expect(self.chart()).to_be_visible(timeout=self.patience)
        self.shot("3-training")
        self.steps_done(1 + stages)
        self.see("train.took")
        self.shot("4-trained")

    def evaluate(self, done: int = 4) -> None:
        self.tab("tab.evaluate")
        self.press("eval.start")
        self.steps_done(done)
        self.see("eval.pairs")
        self.shot("5-evaluation")
        self.tab("eval.browser")
        self.see("eval.reference")
        self.shot("6-answers")

    def chat(self, said: str, danger: str) -> None:
        self.tab("tab.chat")
        self.page.get_by_label(self.w("chat.mode.blind"), exact=True).check()
        self.ask(said)
        self.see("vote.lead", self.patience / 1000)
        self.shot("7-chat")
        self.page.get_by_label(self.w("vote.consent")).check()
        self.press("vote.b")
        self.see("vote.stored")
        self.shot("7-voted")
        self.page.get_by_label(self.w("chat.mode.side"), exact=True).check()
        self.ask(danger)
        self.see("guard.crisis", self.patience / 1000)
        expect(self.page.locator(".generating")).to_have_count(0, timeout=self.patience)
        self.shot("8-guard")

    def ask(self, said: str) -> None:
        """Send a message in the chat."""
        box = self.page.get_by_label(self.w("chat.say"), exact=True)
        box.fill(said)
        self.press("chat.send")
        expect(box).to_have_value("", timeout=self.patience)

    def export(self, kind: str = "hf") -> None:
        self.tab("tab.export")
        self.page.get_by_label(self.w(f"export.{kind}"), exact=True).check()
        self.press("export.do")
        self.see("export.made", self.patience / 1000)
        expect(self.page.locator(".hm-pulse")).to_have_count(0, timeout=self.patience)
        self.shot("9-export")

    def report(self) -> None:
        self.press("report.do")
        expect(self.page.locator("iframe.hm-report")).to_be_visible(timeout=self.patience)
        expect(self.page.locator(".hm-pulse")).to_have_count(0, timeout=self.patience)
        self.shot("10-report")

    def runs(self) -> None:
        self.tab("tab.runs")
        self.see("runs.command")
        self.shot("11-runs")
