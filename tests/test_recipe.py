from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hearmeglm.errors import RecipeError
from hearmeglm.recipe import parse_recipe
from hearmeglm.recipe_file import find_recipe, load_recipe, recipes_dir

SHIPPED = sorted(recipes_dir().glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_recipe_parses_and_opens_with_its_command(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert path.read_text(encoding="utf-8").startswith(f"# hearme run {path.stem}")


def test_all_faults_are_listed_at_once() -> None:
    tree = {"name": "x", "sead": 1, "lora": {"rank": 0}, "data": {"split": {"train": 0.9, "valid": 0.9, "test": 0}}}
    with pytest.raises(RecipeError) as err:
        parse_recipe(tree)
    text = str(err.value)
    assert "sead: unknown key" in text
    assert "lora.rank" in text
    assert "data.split: train + valid + test must be 1, found 1.8" in text
    assert "\n" not in text


@pytest.mark.parametrize("key", ["rank", "alpha", "targets", "lora"])
def test_the_adapter_may_not_change_between_stages(key: str) -> None:
    with pytest.raises(RecipeError, match="continues the same adapter"):
        parse_recipe({"name": "x", "stages": {"stage2": {"mix": {"persona": 1}, key: 32}}})


def test_unknown_names_are_refused() -> None:
    tree = {"name": "x", "stages": {"s": {"mix": {"nope": 1}}}, "evaluation": {"models": ["base", "stage9"]}}
    with pytest.raises(RecipeError, match=r"no source named 'nope'.*no model named 'stage9'"):
        parse_recipe(tree)


def test_overrides_are_yaml_values(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: r\nstages: {s: {mix: {persona: 1}}}\nevaluation: {models: [base, s]}\n", encoding="utf-8")
    recipe = load_recipe(file, ["stages.s.learning_rate=4e-4", "seed=7", "data.limits.train=300"])
    assert recipe.stages["s"].learning_rate == 4e-4
    assert (recipe.seed, recipe.data.limits.train) == (7, 300)
    with pytest.raises(RecipeError, match="expected key=value"):
        load_recipe(file, ["seed"])


def test_paths_are_taken_from_the_recipes_folder_and_survive_saving(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    file = tmp_path / "r.yaml"
    file.write_text(
        yaml.safe_dump(
            {"name": "r", "data": {"sources": {"a": {"path": ["first", "second"]}}}, "evaluation": {"models": ["base"]}}
        )
    )
    recipe = load_recipe(file)
    assert recipe.data.sources["a"].path == str(tmp_path / "second")
    (tmp_path / "run").mkdir()
    recipe.save(tmp_path / "run" / "recipe.yaml")
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == recipe


def test_a_missing_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match=r"nothing -> shipped recipes: .*demo"):
        load_recipe("nowhere.yaml")
    assert find_recipe("demo") == recipes_dir() / "demo.yaml"


@pytest.mark.parametrize("text", ["- 1\n", "a: [", "name: \x00"])
def test_what_is_not_a_recipe_is_said_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match="expected"):
        load_recipe(tmp_path / "r.yaml")
