"""Recipe files: found by name, read from YAML, changed by `--set`, with paths that hold wherever a run is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .errors import RecipeError
from .recipe import Recipe, parse_recipe


def load_recipe(path: Path | str, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file and apply `key.path=value` overrides (values are YAML).

    Relative paths are made absolute: those of the file from its folder (of a shipped recipe: from the working directory),
    those of overrides from the working directory.

    Raises:
        RecipeError: with every fault of the file in one message.
    """
    path = find_recipe(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise RecipeError(f"expected a recipe in UTF-8 YAML, found {err}", where=str(path)) from None
    except yaml.YAMLError as err:
        raise RecipeError(f"expected YAML, found {err}", where=str(path)) from None
    if not isinstance(tree, dict):
        raise RecipeError(f"expected a mapping of recipe keys, found {type(tree).__name__}", where=str(path))
    shipped = path.resolve().parent == recipes_dir().resolve()
    _anchor(tree, Path.cwd() if shipped else path.parent)
    for item in overrides:
        _override(tree, item)
    _anchor(tree, Path.cwd())
    return parse_recipe(tree, where=str(path))


def find_recipe(path: Path | str) -> Path:
    """The file itself, or a shipped recipe named like it (`demo`, `demo.yaml`, `recipes/demo.yaml`).

    Raises:
        RecipeError: neither is there.
    """
    file = Path(path)
    if file.is_file():
        return file
    name = file.name if file.suffix == ".yaml" else f"{file.name}.yaml"
    shipped = recipes_dir() / name
    if shipped.is_file() and file.parent.name in ("", "recipes"):
        return shipped
    have = ", ".join(sorted(p.stem for p in recipes_dir().glob("*.yaml")))
    raise RecipeError("expected a recipe file, found nothing", where=str(path), hint=f"shipped recipes: {have}")


def recipes_dir() -> Path:
    """Folder of the shipped recipes: beside the package in a checkout, inside it when installed."""
    inside = Path(__file__).parent / "recipes"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "recipes"


def _override(tree: dict[str, Any], item: str) -> None:
    key, sign, value = item.partition("=")
    if not sign or not key:
        raise RecipeError(
            f"expected key=value, found {item!r}", where="--set", hint="for example --set stages.stage2.epochs=1"
        )
    node = tree
    *parents, last = key.split(".")
    for part in parents:
        node = node.setdefault(part, {}) if isinstance(node, dict) else {}
        if not isinstance(node, dict):
            raise RecipeError(f"{part!r} holds a value, not a section", where=f"--set {key}")
    try:
        node[last] = yaml.safe_load(value)
        if isinstance(node[last], str):  # YAML 1.1 reads 4e-4 as text
            node[last] = _number(node[last])
    except yaml.YAMLError:
        raise RecipeError(f"expected a YAML value, found {value!r}", where=f"--set {key}") from None


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _anchor(tree: dict[str, Any], folder: Path) -> None:
    """Make the paths of a recipe's tree absolute; of a list of places keep the first that exists (the first if none does)."""

    def section(node: Any, key: str) -> dict[str, Any]:
        child = node.get(key) if isinstance(node, dict) else None
        return child if isinstance(child, dict) else {}

    def absolute(place: str) -> str:
        return str((folder / Path(place).expanduser()).resolve())

    def anchor(node: Any, key: str) -> None:
        places = node.get(key) if isinstance(node, dict) else None
        if isinstance(places, list) and places and all(isinstance(p, str) and p for p in places):
            places = next((p for p in places if Path(absolute(p)).exists()), places[0])
        if isinstance(places, str) and places:
            node[key] = absolute(places)

    for source in section(section(tree, "data"), "sources").values():
        anchor(source, "path")
    for stage in section(tree, "stages").values():
        anchor(stage, "preferences")
    anchor(section(tree, "persona"), "file")
    if str(tree.get("base", "")).startswith((".", "~", "/")):
        anchor(tree, "base")
