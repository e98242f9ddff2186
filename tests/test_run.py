from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hearmeglm.errors import DataError, RunError
from hearmeglm.files import atomic_open, read_jsonl, write_json, write_jsonl
from hearmeglm.recipe import parse_recipe
from hearmeglm.run import RunDir

RECIPE = parse_recipe({"name": "r", "evaluation": {"models": ["base"]}})


def test_a_step_is_done_only_with_the_same_inputs_and_whole_files(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", RECIPE)
    step = run.data
    assert step.done({"a": "1"}) is None
    step.begin()
    (step.path / "x.txt").write_text("x")
    step.finish({"a": "1"}, {"n": 3}, seed=42, files=("x.txt",))
    again = step.done({"a": "1"})
    assert again is not None
    assert (again.skipped, again.summary) == (True, {"n": 3})
    assert step.done({"a": "2"}) is None
    (step.path / "x.txt").unlink()
    assert step.done({"a": "1"}) is None


def test_a_manifest_records_versions_seed_and_machine(tmp_path: Path) -> None:
    step = RunDir.create(tmp_path / "run", RECIPE).data
    step.begin()
    step.finish({}, {}, seed=7)
    manifest = step.manifest()
    assert manifest is not None
    assert manifest["seed"] == 7
    assert {"python", "torch", "hearmeglm"} <= manifest["versions"].keys()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(RunError, match="expected an empty folder or an earlier run"):
        RunDir.create(tmp_path, RECIPE)
    with pytest.raises(RunError, match="expected a run directory"):
        RunDir.open(tmp_path)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"old": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(file, {"new": 1})
    assert file.read_text() == '{\n  "old": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_open(tmp_path / "a.txt") as out:
            out.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_jsonl_faults_name_the_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    write_jsonl(file, [{"a": 1}, {"b": 2}])
    assert [n for n, _ in read_jsonl(file)] == [1, 2]
    file.write_text('{"a": 1}\n\n{"a"\n')
    with pytest.raises(DataError, match=r"a\.jsonl:3: expected JSON Lines"):
        list(read_jsonl(file))
    file.write_text("[1]\n")
    with pytest.raises(DataError, match=r":1: expected a JSON object, found list"):
        list(read_jsonl(file))
