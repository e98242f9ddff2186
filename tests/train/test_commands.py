"""`hearme train`, `plan` and `doctor` from the command line, on a tiny base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hearmeglm.cli import app
from hearmeglm.errors import UserError

from .tiny import make_base, make_run

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    return make_run(folder / "run", make_base(folder / "base"))[1].path


def test_a_plan_foretells_the_steps_that_train_takes(run: Path) -> None:
    planned = json.loads(RUNNER.invoke(app, ["plan", str(run), "--json"]).stdout)
    first = RUNNER.invoke(app, ["train", str(run), "--stage", "stage1", "--json"])
    assert first.exit_code == 0, first.output
    trained = json.loads(first.stdout)
    both = json.loads(RUNNER.invoke(app, ["train", str(run), "--json"]).stdout)
    assert [r["skipped"] for r in both] == [True, False]
    for plan, done in zip(planned["stages"], [trained[0], both[1]], strict=True):
        assert plan["stage"] == done["stage"]
        assert plan["steps"] == done["steps"]
        assert plan["tokens"] == done["num_input_tokens_seen"]
    again = RUNNER.invoke(app, ["train", str(run)])
    assert again.stdout.count("nothing to do") == 2


def test_a_plan_for_people_says_time_memory_and_whether_it_fits(run: Path) -> None:
    said = RUNNER.invoke(app, ["plan", str(run), "--set", "stages.stage1.max_steps=1"]).stdout
    assert "it fits" in said
    assert "peak" in said


def test_an_unknown_stage_is_named(run: Path) -> None:
    done = RUNNER.invoke(app, ["train", str(run), "--stage", "stage9"])
    assert isinstance(done.exception, UserError)
    assert "stage1" in str(done.exception)
    assert "stage9" in str(done.exception)


def test_doctor_names_what_is_there_and_what_is_missing() -> None:
    found = json.loads(RUNNER.invoke(app, ["doctor", "--json"]).stdout)
    assert RUNNER.invoke(app, ["doctor"]).stdout.count("\n") >= len(found) > 5
