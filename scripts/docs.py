"""Write docs/reference/ from the code and from what was measured: recipe keys, commands, the guard's figures. `--check` fails if a page is stale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_origin

from guard_page import guard_page
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hearmeglm.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
MADE = "<!-- made by `make docs`; do not edit -->\n"


def recipe_page() -> str:
    """Every key with type, default and meaning, section by section."""
    parts = [
        MADE,
        "# Recipe reference\n\nEvery key of a recipe. Defaults live in `src/hearmeglm/recipe.py` and nowhere else.\n",
    ]
    seen: set[type[BaseModel]] = set()
    waiting: list[tuple[str, type[BaseModel]]] = [("Recipe", Recipe)]
    while waiting:
        title, model = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        parts.append(
            f"\n## {title}\n\n{(model.__doc__ or '').strip().splitlines()[0]}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
        )
        for name, field in model.model_fields.items():
            parts.append(f"| `{name}` | {_type(field)} | {_default(field)} | {field.description or ''} |\n")
            waiting += [(f"{name}", m) for m in _models(field.annotation)]
    return "".join(parts)


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in get_args(annotation) for m in _models(a)]


def _type(field: FieldInfo) -> str:
    text = (
        str(field.annotation)
        if get_origin(field.annotation)
        else getattr(field.annotation, "__name__", str(field.annotation))
    )
    for module in ("typing.", "hearmeglm.recipe.", "annotated_types."):
        text = text.replace(module, "")
    if "Annotated[" in text:
        text = text.split("Annotated[")[1].split(",")[0]
        text = text.split("[")[0] if "[" in text else text
        text += " or null" if "None" in str(field.annotation) else ""
    limits = [
        f"{k} {getattr(m, k)}"
        for m in field.metadata
        for k in ("gt", "ge", "lt", "le")
        if getattr(m, k, None) is not None
    ]
    words = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    limit = ", ".join(f"{words[t.split()[0]]} {t.split()[1]}" for t in limits)
    return (text.replace(" | None", " or null").replace("|", "\\|") + (f" ({limit})" if limit else "")).replace(
        "Literal", ""
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "see below" if isinstance(value, BaseModel) else f"`{value!r}`".replace("|", "\\|")


def cli_page() -> str:
    """`--help` of every command."""
    os.environ.update(COLUMNS="100", TERM="dumb", NO_COLOR="1", TERMINAL_WIDTH="100")
    import typer

    from hearmeglm.cli import app

    root = typer.main.get_command(app)
    parts = [MADE, "# Command reference\n"]

    def walk(command: object, path: list[str]) -> None:
        # In a process of its own, so that the page shows exactly what a user sees.
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import sys; sys.argv={path!r} + ['--help']; from hearmeglm.cli import main; main()",
            ],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        )
        body = "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n")
        parts.append(f"\n## {' '.join(path)}\n\n```text\n{body}\n```\n")
        for name, child in sorted(getattr(command, "commands", {}).items()):
            walk(child, [*path, name])

    walk(root, ["hearme"])
    return "".join(parts)


def main() -> int:
    """Write the pages, or with --check compare them."""
    stale = []
    for name, text in (("recipe.md", recipe_page()), ("cli.md", cli_page()), ("guard.md", MADE + guard_page())):
        path = PAGES / name
        if "--check" in sys.argv:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"stale: docs/reference/{', '.join(stale)} -> run `make docs` and commit", file=sys.stderr)
    return 2 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
