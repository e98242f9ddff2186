"""The studio in a real browser: the whole way in both languages, a server that is killed, two people at once, a broken file, axe."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (pip install playwright)")
from playwright.sync_api import expect

from hearmeglm.studio import jobs, words

from .conftest import FULL, PATIENCE_S
from .walk import Walk

SAY = {
    "zh": ("最近总是睡不好，心里空落落的。😢", "我不想活了"),
    "en": ("I can't sleep lately and feel empty. 😢", "I want to end my life"),
}
TABS = ("tab.data", "tab.train", "tab.evaluate", "tab.chat", "tab.export", "tab.runs")
HAN = re.compile("[\u4e00-\u9fff]+")
ENGLISH = re.compile(r"(?<![\w./-])[A-Za-z]{3,}(?: [A-Za-z]{2,}){2,}")
"""Three English words in a row: a sentence, not a name such as CC-BY or q4_k_m."""
OWN_WORDS = """() => [...document.querySelectorAll('label > span, [data-testid=block-info], button, h1, h2, th, dt, figcaption, .hm-lead, .hm-small, .hm-note, [role=tab], .hm-steps')]
    .filter(n => n.checkVisibility() && !n.closest('iframe')).map(n => n.innerText).join('\\n')"""
"""What the studio itself says on the page that is open, without what people and models have written."""
SERIOUS = {"serious", "critical"}


whole = pytest.mark.skipif(not os.environ.get("HEARME_E2E"), reason="more than the way itself: asked for by `make e2e`")


def _walk(browser, studio, lang: str, pictures: Path) -> Walk:
    return Walk(browser.new_page(), words.load(lang), pictures, PATIENCE_S)


@pytest.mark.parametrize("lang", ["zh", pytest.param("en", marks=whole)])
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
    run = studio.runs / walk.page.get_by_label(walk.w("run.label")).first.input_value()
    (vote,) = [json.loads(x) for x in (run / "votes" / "votes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert vote["blind"]
    assert (run / "votes" / "pairs.jsonl").is_file()
    assert walk.outside == []
    assert walk.errors == []
    walk.page.close()


@whole
@pytest.mark.parametrize("lang", words.LANGS)
def test_pages_speak_one_language_and_phones_do_not_scroll_sideways(browser, studio, tiny_recipe, pictures, lang):
    walk = _walk(browser, studio, lang, pictures)
    walk.page.set_viewport_size({"width": 390, "height": 844})
    walk.open(studio.url, _some_run(walk, studio, tiny_recipe))
    for key in TABS:
        walk.tab(key)
        walk.shot(f"phone-{key[4:]}")
        assert walk.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), key
        text = walk.page.evaluate(OWN_WORDS)
        wrong = HAN.findall(text.replace("中文", "")) if lang == "en" else ENGLISH.findall(text)
        assert not wrong, (key, sorted(set(wrong)))
    walk.page.close()


def _some_run(walk: Walk, studio, recipe) -> str:
    """The name of a run; made here where this test runs alone."""
    if not any(studio.runs.glob("*/recipe.yaml")):
        walk.open(studio.url)
        walk.create(recipe)
    return next(p.parent.name for p in sorted(studio.runs.glob("*/recipe.yaml")))


@whole
def test_a_broken_data_set_is_a_readable_error(browser, studio, tiny_recipe, pictures, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('[{"messages": [{"role": "user", "content": "hi"', encoding="utf-8")
    walk = _walk(browser, studio, "zh", pictures)
    walk.open(studio.url, _some_run(walk, studio, tiny_recipe))
    walk.open_accordion("data.add")
    walk.page.get_by_role("textbox", name=walk.w("data.path")).locator("visible=true").first.fill(str(broken))
    walk.press("data.check")
    walk.see("error.DataError")
    shown = walk.page.locator(".hm-note.bad").locator("visible=true").first.inner_text()
    assert "broken.json" in shown
    assert "怎么办" in shown
    assert "Traceback" not in shown
    walk.shot("broken-data")
    walk.page.close()


@whole
def test_a_killed_server_finds_its_training_again(browser, studio, tiny_recipe, pictures):
    walk = _walk(browser, studio, "en", pictures)
    walk.open(studio.url)
    walk.create(tiny_recipe)
    name = walk.page.get_by_label(walk.w("run.label")).first.input_value()
    run = studio.runs / name
    walk.press("data.prepare")
    walk.steps_done(1)
    recipe = (run / "recipe.yaml").read_text(encoding="utf-8")
    (run / "recipe.yaml").write_text(recipe.replace("epochs: 2", "epochs: 400"), encoding="utf-8")
    walk.open(studio.url, name, "train")
    walk.press("train.start")
    expect(walk.chart()).to_be_visible(timeout=PATIENCE_S * 1000)
    studio.kill()
    at_work = jobs.running(run)
    assert at_work is not None
    studio.start()
    other = _walk(browser, studio, "zh", pictures)  # a second person, the other language
    other.open(studio.url, name, "train")
    walk.open(studio.url, name, "train")
    for person in (walk, other):
        expect(person.page.locator(".hm-steps li.work")).to_be_visible()
        expect(person.chart()).to_be_visible()
    walk.shot("found-again")
    other.press("job.stop")
    for person in (walk, other):  # both see what one of them did
        expect(person.page.locator(".hm-steps li.work")).to_have_count(0, timeout=PATIENCE_S * 1000)
    assert jobs.wait(at_work, 60).state == "stopped"
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


@whole
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_accessibility_violation(browser, studio, tiny_recipe, pictures, axe, theme: str):
    report = {}
    for lang in words.LANGS:
        walk = _walk(browser, studio, lang, pictures)
        walk.page.emulate_media(color_scheme=theme)
        walk.open(studio.url, _some_run(walk, studio, tiny_recipe))
        for key in TABS:
            walk.tab(key)
            walk.shot(f"{theme}-{key[4:]}")
            walk.page.evaluate(axe)
            found = walk.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            report[f"{lang} {key}"] = [
                (v["id"], v["impact"], [n["html"][:160] for n in v["nodes"][:4]], len(v["nodes"]))
                for v in found["violations"]
            ]
        walk.page.close()
    (pictures / f"axe-{theme}.json").write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
    bad = {k: [v for v in vs if v[1] in SERIOUS] for k, vs in report.items()}
    assert not any(bad.values()), bad
