"""The floors of DESIGN: a module imports from lower floors only, and packages on one floor do not import each other."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "hearmeglm"
FLOORS = [
    {"types", "errors", "files", "sections", "phrases"},
    {"recipe", "recipe_file", "run"},
    {"models"},
    {"safety"},
    {"data"},
    {"chat"},
    {"train", "evals"},
    {"report"},
    {"pipeline"},
    {"server", "studio"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}
# Parts of one floor that build on each other by design.
WITHIN = {
    ("files", "errors"),
    ("run", "recipe"),
    ("run", "recipe_file"),
    ("recipe_file", "recipe"),
    ("files", "types"),
    ("types", "errors"),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Top-level parts of this package that a module imports, wherever in the file."""
    found = set()
    folder = path.parent.relative_to(PACKAGE).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = folder[: len(folder) - node.level + 1]
                dotted = (*base, *(node.module or "").split(".")) if node.module else base
                names = [dotted] if dotted else [(a.name,) for a in node.names]
                found |= {n[0] for n in names if n}
            elif (node.module or "").startswith("hearmeglm."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("hearmeglm.")}
    return found & FLOOR.keys()


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    me = _part(path)
    if me == "__init__":
        assert not _imports(path)
        return
    for other in _imports(path) - {me}:
        assert FLOOR[other] < FLOOR[me] or (me, other) in WITHIN, f"{me} may not import {other}"


def test_every_part_has_a_floor() -> None:
    assert {_part(p) for p in MODULES} - {"__init__"} <= FLOOR.keys()


def test_no_file_over_400_lines_and_the_median_under_200() -> None:
    lengths = sorted(len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES)
    assert lengths[-1] <= 400, [str(p) for p in MODULES if len(p.read_text(encoding="utf-8").splitlines()) > 400]
    assert lengths[len(lengths) // 2] < 200


def test_an_installed_package_has_every_file() -> None:
    settings = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    taken = settings["tool"]["setuptools"]["package-data"]["hearmeglm"]
    suffixes = {pattern.removeprefix("**/*") for pattern in taken if pattern.startswith("**/*")}
    files = [p for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    left_out = [p.name for p in files if p.suffix not in suffixes | {".py"} and p.name not in taken]
    assert left_out == []
