"""The form is the schema: limits, choices, values there and back."""

from __future__ import annotations

import pytest

from hearmeglm.errors import RecipeError
from hearmeglm.recipe import Recipe
from hearmeglm.recipe_file import load_recipe
from hearmeglm.studio import form

TABLE = form.by_path(Recipe)


def test_limits_and_choices_come_from_the_schema():
    assert TABLE["stages.*.learning_rate"].low == 0
    assert TABLE["stages.*.learning_rate"].open_low
    assert (TABLE["data.split.train"].low, TABLE["data.split.train"].high) == (0, 1)
    assert TABLE["lora.rank"].kind == "int"
    assert TABLE["lora.rank"].low == 1
    assert TABLE["stages.*.scheduler"].choices[0] == "cosine"
    assert TABLE["stages.*.patience"].optional


@pytest.mark.parametrize("name", ["demo", "jerry-270m", "paper"])
def test_every_value_survives_the_form(name: str):
    recipe = load_recipe(name)
    stage, source = next(iter(recipe.stages)), next(iter(recipe.data.sources))
    for one in TABLE.values():
        at = one.key(stage if one.path.startswith("stages") else source)
        try:
            value = form.value_at(recipe, at)
        except KeyError:
            continue  # a table without entries
        back = one.read(one.shown(value))
        assert back == (list(value) if isinstance(value, tuple) else value), at


def test_yaml_that_is_none_is_an_error_with_an_example():
    with pytest.raises(RecipeError, match="persona: 1"):
        TABLE["stages.*.mix"].read("{a: ")
