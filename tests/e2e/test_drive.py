"""The studio in a real browser: the whole way in both languages, a server that is killed, two people at once, a broken file, axe."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from hearmeglm.studio import jobs, words

from .conftest import FULL, PATIENCE_S
from .walk import Walk

SAY = {
    "zh": ("最近总是睡不好，心里空落落的。😢", "我不想活了"),
    "en": ("I can't sleep lately and feel empty. 😢", "I want to end my life"),
}
HAN = re.compile("[\u4e00-\u9fff]+")
SERIOUS = {"serious", "critical"}


def _walk(browser, studio, lang: str, pictures: Path) -> Walk:
    return Walk(browser.new_page(), words.load(lang), pictures, PATIENCE_S)


@pytest.mark.parametrize("lang", ["zh", "en"] if FULL else ["zh"])
def test_the_whole_way(browser, studio, tiny_recipe, pictures, lang: str):
    walk = _walk(browser, studio, lang, pictures)
    walk.open(studio.url)
    walk.shot("0-first")
    walk.create("demo" if FULL else tiny_recipe)
    walk.data()
    walk.plan()
    walk.train()
    walk.evaluate()
    walk.chat(*SAY[lang])
    walk.export("gguf" if FULL else "hf")  # llama.cpp knows no Gemma of two layers
    walk.report()
    walk.runs()
    run = next(p for p in studio.runs.iterdir() if (p / "votes").is_dir())
    votes = [json.loads(x) for x in (run / "votes" / "votes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert votes[-1]["blind"]
    assert (run / "votes" / "pairs.jsonl").is_file()
    assert walk.outside == []
    assert walk.errors == []
    walk.page.close()


def test_english_pages_hold_no_chinese_and_phones_do_not_scroll_sideways(browser, studio, tiny_recipe, pictures):
    walk = _walk(browser, studio, "en", pictures)
    walk.page.set_viewport_size({"width": 390, "height": 844})
    walk.open(studio.url)
    if not any(studio.runs.glob("*/recipe.yaml")):
        walk.create(tiny_recipe)
    for key in ("tab.data", "tab.train", "tab.evaluate", "tab.export", "tab.runs", "tab.chat"):
        _open_tab(walk, key)
        assert walk.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), key
        walk.shot(f"phone-{key[4:]}")
        text = walk.page.evaluate(
            "[...document.querySelectorAll('label, button, h1, h2, .hm-lead, .hm-note.empty, [role=tab], .block-info, .hm-steps')].map(n => n.innerText).join('\\n')"
        )
        found = set(HAN.findall(text.replace("中文", "")))
        assert not found, (key, found)
    walk.page.close()


def _open_tab(walk: Walk, key: str) -> None:
    tab = walk.page.get_by_role("tab", name=walk.w(key), exact=True)
    if not tab.first.is_visible():  # on a phone some are behind the menu
        walk.page.locator(".overflow-menu button").locator("visible=true").first.click()
        walk.page.locator(".overflow-dropdown button", has_text=walk.w(key)).first.click()
    else:
        tab.first.click()
    walk.page.wait_for_timeout(600)


def test_first_page_within_two_seconds(browser, studio):
    page = browser.new_page()
    page.goto(f"{studio.url}/zh/")
    page.get_by_role("tab").first.wait_for()  # the program's files are read from disk once
    times = []
    for _ in range(3):
        start = time.perf_counter()
        page.goto(f"{studio.url}/zh/")
        page.get_by_role("tab").first.wait_for()
        times.append(time.perf_counter() - start)
    page.close()
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if load > 1.2:
        pytest.skip(f"the machine is busy (load {load:.1f} a core): {min(times):.2f} s")
    assert min(times) <= 2.0


def test_a_broken_data_set_is_a_readable_error(browser, studio, tiny_recipe, pictures, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('[{"messages": [{"role": "user", "content": "hi"', encoding="utf-8")
    walk = _walk(browser, studio, "zh", pictures)
    walk.open(studio.url)
    if not any(studio.runs.glob("*/recipe.yaml")):
        walk.create(tiny_recipe)
    walk.page.get_by_role("button", name=walk.w("data.add")).first.click()
    walk.page.get_by_label(walk.w("data.path")).locator("visible=true").first.fill(str(broken))
    walk.press("data.check")
    walk.say("error.DataError").wait_for()
    shown = walk.page.locator(".hm-note.bad").locator("visible=true").first.inner_text()
    assert "broken.json" in shown
    assert "Traceback" not in shown
    walk.shot("broken-data")
    walk.page.close()


def test_a_killed_server_finds_its_training_again(browser, studio, tiny_recipe, pictures):
    walk = _walk(browser, studio, "en", pictures)
    walk.open(studio.url)
    walk.create(tiny_recipe)
    name = walk.page.get_by_label(walk.w("run.label")).first.input_value()
    run = studio.runs / name
    walk.press("data.prepare")
    walk.steps_done(1)
    recipe = (run / "recipe.yaml").read_text(encoding="utf-8")
    (run / "recipe.yaml").write_text(recipe.replace("epochs: 2", "epochs: 60"), encoding="utf-8")
    walk.tab("tab.train")
    walk.press("train.start")
    walk.page.locator("figure.hm-chart svg").locator("visible=true").first.wait_for(timeout=PATIENCE_S * 1000)
    studio.kill()
    at_work = jobs.running(run)
    assert at_work is not None
    studio.start()
    other = _walk(browser, studio, "zh", pictures)  # a second person, the other language
    other.open(studio.url, name)
    walk.open(studio.url, name)
    for person in (walk, other):
        person.page.locator(".hm-steps li.work").wait_for()
        person.press("job.stop")
    jobs.wait(at_work, 60)
    assert jobs.jobs(run)[0].state == "stopped"
    other.page.locator(".hm-steps li.next").wait_for()
    walk.page.close()
    other.page.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    """The source of axe-core (MPL-2.0), fetched by npm for this test only."""
    folder = tmp_path_factory.mktemp("axe")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: axe-core cannot be fetched")
    got = subprocess.run(
        ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "axe-core@4"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    source = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not source.is_file():
        pytest.skip(f"axe-core could not be fetched: {got.stderr.strip().splitlines()[-1:]}")
    return source.read_text(encoding="utf-8")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_accessibility_violation(browser, studio, pictures, axe, theme: str):
    walk = _walk(browser, studio, "zh", pictures)
    walk.page.emulate_media(color_scheme=theme)
    walk.open(studio.url)
    report = {}
    for key in ("tab.data", "tab.train", "tab.evaluate", "tab.chat", "tab.export", "tab.runs"):
        _open_tab(walk, key)
        walk.page.wait_for_timeout(400)
        walk.page.evaluate(axe)
        found = walk.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        report[key] = [
            (v["id"], v["impact"], [n["html"][:160] for n in v["nodes"][:4]], len(v["nodes"]))
            for v in found["violations"]
        ]
        walk.shot(f"{theme}-{key[4:]}")
    (pictures / f"axe-{theme}.json").write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
    bad = {k: [v for v in vs if v[1] in SERIOUS] for k, vs in report.items()}
    assert not any(bad.values()), bad
    walk.page.close()
