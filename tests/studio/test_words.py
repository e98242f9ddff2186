"""No word is missing in either language, and every setting has its explanation in Chinese."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from hearmeglm import errors
from hearmeglm.evals.judge.rubric import ranges
from hearmeglm.recipe import Recipe
from hearmeglm.safety.lexicon import KINDS, LEVELS
from hearmeglm.studio import form, words

STUDIO = Path(words.__file__).parent
HAN = re.compile("[\u4e00-\u9fff]")
CALLS = {"w", "words"}


def _used() -> tuple[set[str], set[str]]:
    """(whole keys, beginnings of keys made with an f-string) that the code asks for."""
    whole, beginnings = set(), set()
    for path in STUDIO.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            first = node.args[0]
            if name in CALLS and isinstance(first, ast.Constant):
                whole.add(first.value)
            elif name in CALLS and isinstance(first, ast.JoinedStr) and isinstance(first.values[0], ast.Constant):
                beginnings.add(first.values[0].value)
            elif name == "confirmed":
                whole.add(first.value)
            elif name == "empty" and isinstance(node.args[1], ast.Constant):
                whole |= {f"{node.args[1].value}.title", f"{node.args[1].value}.how"}
    return whole, beginnings


def test_both_tables_have_the_same_keys_and_placeholders():
    zh, en = words.load("zh").ui, words.load("en").ui
    assert zh.keys() == en.keys()
    for key in zh:
        assert set(re.findall(r"{(\w+)}", zh[key])) == set(re.findall(r"{(\w+)}", en[key])), key


def test_every_key_that_the_code_asks_for_exists_and_none_is_left_over():
    table = words.load("zh").ui
    whole, beginnings = _used()
    assert not whole - table.keys()
    for start in beginnings:
        assert any(k.startswith(start) for k in table), start
    spare = {k for k in table if k not in whole and not any(k.startswith(b) for b in beginnings)}
    assert not {k for k in spare if not k.startswith(("error.", "metric.", "saved", "unchanged", "train.memory", "train.peak"))}


def test_what_the_code_fills_in_exists():
    table = words.load("zh").ui
    need = [f"guard.kind.{k}" for k in (*KINDS, "none", "unknown")] + [f"guard.level.{x}" for x in LEVELS]
    need += [f"judge.{c}" for c in ranges()]
    need += [f"error.{n}" for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, errors.HearmeError)]
    assert [k for k in need if k not in table] == []


def test_every_setting_is_explained_in_chinese():
    known = {f.path for f in form.fields(Recipe)}
    explained = words.load("zh").settings
    assert known == explained.keys()
    for path, (label, info) in explained.items():
        assert HAN.search(info), path
        assert label.strip(), path


@pytest.mark.parametrize("key", [k for k in words.load("en").ui if k != "other"])
def test_english_is_english_and_chinese_is_chinese(key: str):
    assert not HAN.search(words.load("en").ui[key])
    text = words.load("zh").ui[key]
    assert HAN.search(text) or key in {"other"} or not re.search("[a-z]{3}", text), text
