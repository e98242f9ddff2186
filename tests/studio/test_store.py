"""Runs on disk: made, edited as a whole or not at all, renamed, archived."""

from __future__ import annotations

from pathlib import Path

import pytest

from hearmeglm.errors import RecipeError, RunError
from hearmeglm.files import write_json
from hearmeglm.recipe_file import load_recipe
from hearmeglm.studio import runs
from hearmeglm.studio.app import desks, status
from hearmeglm.studio.data import _place
from hearmeglm.studio.results import failures
from hearmeglm.studio.store import Store


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    made.create("one", load_recipe("demo"))
    return made


def test_edit_writes_what_differs_and_nothing_wrong(store):
    assert store.edit("one", {"stages.stage1.epochs": 2})
    assert not store.edit("one", {"stages.stage1.epochs": 2})
    with pytest.raises(RecipeError, match="learning_rate"):
        store.edit("one", {"stages.stage1.learning_rate": 0})
    recipe = store.open("one").recipe
    assert recipe.stages["stage1"].epochs == 2
    assert recipe.stages["stage1"].learning_rate > 0


def test_recipe_text_is_checked_as_a_whole(store):
    text = store.open("one").recipe_path.read_text(encoding="utf-8")
    assert not store.replace("one", text)
    with pytest.raises(RecipeError, match="unknown key"):
        store.replace("one", text + "colour: red\n")
    with pytest.raises(RecipeError, match="YAML"):
        store.replace("one", "a: [")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "x" * 81])
def test_names_that_are_no_folder_names(store, name):
    with pytest.raises(RunError):
        store.rename("one", name)


def test_rename_and_archive_keep_everything(store):
    store.rename("one", "甲")
    assert store.names() == ["甲"]
    target = store.archive("甲")
    assert store.names() == []
    assert (target / "recipe.yaml").is_file()


def test_a_taken_name_is_refused(store):
    store.create("two", load_recipe("demo"))
    with pytest.raises(RunError, match="new name"):
        store.rename("two", "one")


def test_a_broken_recipe_is_shown_and_does_not_empty_the_list(store):
    store.create("two", load_recipe("demo"))
    (store.root / "one" / "recipe.yaml").write_text("stages: 3", encoding="utf-8")
    found = {r.name: r.problem for r in store.list()}
    assert found["two"] == ""
    assert "stages" in found["one"]


def test_runs_side_by_side_show_the_settings_that_differ(store):
    store.create("two", load_recipe("demo"))
    store.edit("two", {"lora.rank": 4})
    page = runs.compare(desks(store.root)["en"], ["one", "two"])
    assert "lora.rank" in page
    assert "learning_rate" not in page


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_status_names_the_next_step(store, lang):
    page, _, busy = status(desks(store.root)[lang], "one")
    assert not busy
    assert 'aria-current="step"' in page


def test_uploads_of_one_name_do_not_overwrite_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("HEARME_DATA", str(tmp_path / "kept"))
    made = []
    for text in ("one", "two", "one"):
        upload = tmp_path / "data.jsonl"
        upload.write_text(text, encoding="utf-8")
        made.append(_place("", str(upload)))
    assert made[0] == made[2] != made[1]
    assert [Path(m).read_text(encoding="utf-8") for m in made] == ["one", "two", "one"]


@pytest.mark.parametrize(
    ("lang", "item", "alarms"), [("zh", "直接询问", "误报"), ("en", "asks directly", "false alarms")]
)
def test_the_crisis_suite_is_told_item_by_item(store, lang, item, alarms):
    from hearmeglm.evals.crisis import load_cases, score_replies
    from hearmeglm.evals.crisis_run import _result

    run, cases = store.open("one"), load_cases()[:3]
    scores = _result(score_replies("stage2+guard", cases, ["你现在有自杀的想法吗？我在听。"] * len(cases)))
    write_json(run.evals.path / "suites" / "crisis.json", {"suite": "crisis", "models": {"stage2+guard": scores}})
    page = failures(run, desks(store.root)[lang])
    hits, asked = scores["items"]["asks_directly"]["hits"], scores["n"]
    assert hits == asked
    assert f"{item}</td><td>{asked}/{asked}" in page.replace('<td class="n">', "<td>")
    assert alarms in page
