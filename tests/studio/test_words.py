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
    assert not {
        k for k in spare if not k.startswith(("error.", "metric.", "saved", "unchanged", "train.memory", "train.peak"))
    }


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


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("not chosen: data.limits.train of 64", "未抽中：训练上限 64"),
        ("a.json: expected a file or folder, found nothing -> check the path", "a.json：没有这个文件或文件夹。怎么办：检查路径"),
        ("stage1: 3 dialogues are longer than 256 tokens; their later turns are cut", "stage1：有 3 段对话超过 256 个词元，后面的轮次会被截去"),
        ("expected a duck, found 'a goose'", "应是 a duck，现在是 'a goose'"),
        ("nobody has written this", "nobody has written this"),
    ],
)  # fmt: skip
def test_what_the_package_says_is_said_in_chinese(said, told):
    assert words.load("zh").said(said) == told
    assert words.load("en").said(said) == said


def test_every_shipped_recipe_is_described_in_chinese():
    from hearmeglm.studio.store import load_choice, recipe_choices

    for name in recipe_choices():
        recipe = load_choice(name)
        assert HAN.search(words.load("zh").said(recipe.description)), name
        assert HAN.search(words.load("zh").said(recipe.data.split.reason)), name
