"""`hearme suite style`: the style of every model's answers in an evaluated run."""

from __future__ import annotations

from typing import Any

from ..errors import RunError
from ..files import read_jsonl
from ..run import RunDir
from ..types import Generation
from .style import summarise


def run_style(where: str) -> dict[str, Any]:
    """Style of every model beside the references.

    Raises:
        RunError: not an evaluated run.
    """
    run = RunDir.open(where)
    if not run.generations.is_file():
        raise RunError(
            "expected an evaluated run (generations.jsonl), found none", where=where, hint=f"hearme evaluate {where}"
        )
    by_model: dict[str, list[Generation]] = {}
    for _, row in read_jsonl(run.generations):
        g = Generation.from_json(row)
        by_model.setdefault(g.model, []).append(g)
    return {"run": where, "models": {name: summarise(found) for name, found in by_model.items()}}
