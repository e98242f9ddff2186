"""Runs on disk: made, edited as a whole or not at all, renamed, archived."""

from __future__ import annotations

import pytest

from hearmeglm.errors import RecipeError, RunError
from hearmeglm.recipe_file import load_recipe
from hearmeglm.studio import runs
from hearmeglm.studio.app import desks, status
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
