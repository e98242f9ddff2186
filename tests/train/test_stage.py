"""A stage from data to adapter, on a tiny model: what it writes, when it refuses, and every method of tuning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hearmeglm.errors import DataError, HearmeError, RecipeError, RunError, TrainingDiverged
from hearmeglm.files import read_jsonl, write_jsonl
from hearmeglm.models.reference import resolve, weights_dir
from hearmeglm.recipe import Recipe, Stage
from hearmeglm.run import RunDir
from hearmeglm.train.arguments import make_schedule
from hearmeglm.train.curves import smooth
from hearmeglm.train.mix import _weighted, read_split
from hearmeglm.train.stage import train_stage
from hearmeglm.train.trainer import Schedule, diverged
from hearmeglm.types import Dialogue, Message

from .tiny import dialogues, make_base, make_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def adapter(recipe: Recipe, run: RunDir, stage: str = "stage1") -> dict[str, torch.Tensor]:
    return load_file(next(weights_dir(recipe, run.step(stage).path).glob("*.safetensors")))


def test_two_stages_end_to_end(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, run = make_run(tmp_path / "run", base, samples=True, epochs=4)
    before = (base / "model.safetensors").read_bytes()
    one = train_stage(recipe, run, "stage1")
    two = train_stage(recipe, run, "stage2")
    said = capsys.readouterr().err
    assert "stage2: inherits from stage1 the adapter (rank 4, alpha 8, lora, targets all-linear)" in said
    assert "source 'absent': missing" in said
    assert "12 dialogues × 1.5 = 18 an epoch" in said
    for result in (one, two):
        rows = result.summary
        for key in ("epoch", "train_loss", "eval_loss", "train_runtime", "eval_runtime", "train_samples_per_second", "train_steps_per_second",
                    "eval_samples_per_second", "eval_steps_per_second", "num_input_tokens_seen", "total_flos"):  # fmt: skip
            assert rows[key] > 0, key
        assert rows["packing"]
        assert rows["chunked_loss"]
        folder = run.path / result.step
        log = [row for _, row in read_jsonl(folder / "metrics.jsonl")]
        losses = [row["loss"] for row in log if "loss" in row]
        assert losses[-1] < losses[0]
        assert [row["step"] for row in log if "loss" in row] == list(range(1, rows["steps"] + 1))
        assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
        answers = [row for _, row in read_jsonl(folder / "samples.jsonl")]
        assert {row["question"] for row in answers} == {"identity", "identity-en", "misleading", "sadness", "emoji"}
        assert not (folder / "checkpoints").exists()
        weights = adapter(recipe, run, result.step)
        assert {w.dtype for w in weights.values()} == {torch.bfloat16}
        assert any(float(w.float().abs().sum()) > 0 for n, w in weights.items() if "lora_B" in n)
    assert (base / "model.safetensors").read_bytes() == before
    assert train_stage(recipe, run, "stage1").skipped
    assert train_stage(recipe, run, "stage2").skipped


def test_a_run_goes_on_from_an_adapter_with_other_dialogues(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = make_run(tmp_path / "first", base, epochs=1)
    train_stage(recipe, run, "stage1")
    first = weights_dir(recipe, run.step("stage1").path)
    more, again = make_run(tmp_path / "more", base, epochs=1, learning_rate=1e-12)
    more = more.model_copy(update={"lora": more.lora.model_copy(update={"start": str(first)})})
    train_stage(more, again, "stage1")
    assert f"inherits from {first}" in " ".join(capsys.readouterr().err.split())
    before, after = adapter(recipe, run), adapter(more, again)
    assert all(torch.equal(before[n], after[n]) for n in before)  # a step of 1e-12 is lost in bfloat16
    for change, complaint in (
        ({"start": str(tmp_path)}, "found a folder with none"),
        ({"rank": 2}, "rank 2, alpha 8, found base .*rank 4"),
        ({"method": "full"}, "method full"),
    ):
        wrong = more.model_copy(update={"lora": more.lora.model_copy(update=change)})
        with pytest.raises(HearmeError, match=complaint):
            train_stage(wrong, again, "stage1")


def test_data_seed_shows_another_part_of_a_source() -> None:
    talks = [Dialogue(str(i), (Message("user", "a"), Message("assistant", "b"))) for i in range(40)]
    parts = [{d.id for d in _weighted(talks, 0.5, seed)} for seed in (1, 1, 2)]
    assert parts[0] == parts[1] != parts[2]
    assert Stage(mix={"a": 1}).draw_seed(5) == 5
    assert Stage(mix={"a": 1}, data_seed=0).draw_seed(5) == 0


def test_training_is_repeatable_and_depends_on_the_seed(base: Path, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        recipe, run = make_run(tmp_path / name, base, epochs=1, neftune=5.0)
        recipe = recipe.model_copy(update={"seed": seed})
        train_stage(recipe, run, "stage1")
        weights.append(adapter(recipe, run))
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0])
    assert not all(torch.equal(weights[0][n], weights[2][n]) for n in weights[0])


def test_one_batch_of_eight_equals_eight_of_one(base: Path, tmp_path: Path) -> None:
    losses = []
    for batch in (8, 1):
        recipe, run = make_run(
            tmp_path / str(batch), base, train=16, epochs=1, batch_size=batch, accumulation=8 // batch
        )
        recipe = recipe.model_copy(update={"stages": {"stage1": recipe.stages["stage2"]}})
        train_stage(recipe, run, "stage1")
        losses.append([row["loss"] for _, row in read_jsonl(run.path / "stage1" / "metrics.jsonl") if "loss" in row])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_early_stopping_restores_the_best_checkpoint(base: Path, tmp_path: Path) -> None:
    recipe, run = make_run(
        tmp_path / "run", base, train=6, epochs=40, eval_steps=1, patience=2, learning_rate=0.2, scheduler="constant"
    )
    rows = train_stage(recipe, run, "stage1").summary
    log = [row for _, row in read_jsonl(run.path / "stage1" / "metrics.jsonl") if "eval_loss" in row]
    best = min(log, key=lambda row: row["eval_loss"])
    assert rows["stopped_early"]
    assert rows["restored_best"]
    assert rows["best_step"] == best["step"] == log[-1]["step"] - 2
    assert rows["eval_loss"] == best["eval_loss"]


def test_a_diverging_loss_is_named_and_the_last_good_checkpoint_kept(base: Path, tmp_path: Path) -> None:
    recipe, run = make_run(tmp_path / "run", base, learning_rate=1e30, scheduler="constant", save_steps=1)
    with pytest.raises(
        TrainingDiverged,
        match=r"step \d+: the (loss became|mean loss of five steps rose).*kept: checkpoint-\d+ -> lower",
    ):
        train_stage(recipe, run, "stage1")
    kept = list((run.path / "stage1" / "checkpoints").glob("checkpoint-*/seal.json"))
    assert kept
    weights = load_file(max(kept, key=lambda p: int(p.parent.name.split("-")[1])).parent / "adapter_model.safetensors")
    assert all(torch.isfinite(w).all() for w in weights.values())


def test_divergence_is_told_from_noise() -> None:
    assert diverged([{"loss": float("nan")}]) == "the loss became nan"
    assert diverged([{"loss": 0.1 + 0.5 * (i % 2)} for i in range(50)]) is None
    assert "rose from" in str(diverged([{"loss": 1.0}] * 20 + [{"loss": 9.0}] * 5))


def test_a_full_disk_stops_cleanly_and_keeps_the_last_good_checkpoint(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    recipe, run = make_run(tmp_path / "run", base, epochs=3, save_steps=1)
    real = Trainer._save_optimizer_and_scheduler

    def fills(self: Any, folder: str) -> None:
        if folder.endswith("-3"):
            raise RuntimeError("[enforce fail at inline_container.cc:595] . unexpected pos: No space left on device")
        real(self, folder)

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", fills)
    with pytest.raises(OSError, match="No space left") as failed:
        train_stage(recipe, run, "stage1")
    assert failed.value.errno == 28
    assert sorted(p.name for p in (run.path / "stage1" / "checkpoints").glob("checkpoint-*")) == [
        "checkpoint-1",
        "checkpoint-2",
    ]
    monkeypatch.undo()
    assert train_stage(recipe, run, "stage1").summary["steps"] == 14


METHODS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"method": "rslora"}, {}),
    ({"method": "dora"}, {}),
    ({"method": "pissa"}, {}),
    ({"method": "full"}, {}),
    ({"lr_ratio": 16}, {}),
    ({"dropout": 0.1}, {}),
    ({}, {"neftune": 5.0}),
    ({}, {"label_smoothing": 0.1}),
    ({}, {"freeze_layers": 1}),
    ({"method": "full"}, {"freeze_layers": 1}),
    ({}, {"checkpointing": "on"}),
    ({}, {"scheduler": "cosine_with_min_lr", "warmup": 0.2, "weight_decay": 0.1}),
    ({}, {"optimizer": "adafactor"}),
    ({"targets": ["q_proj", "v_proj"]}, {"trackers": ["tensorboard"]}),
]


@pytest.mark.parametrize(("lora", "stage"), METHODS, ids=lambda x: "-".join(f"{k}={v}" for k, v in x.items()) or "_")
def test_every_method_learns_and_a_second_stage_goes_on_from_it(
    base: Path, tmp_path: Path, lora: dict[str, Any], stage: dict[str, Any]
) -> None:
    recipe, run = make_run(tmp_path / "run", base, lora=lora, train=8, valid=2, **stage)
    train_stage(recipe, run, "stage1")
    log = [row for _, row in read_jsonl(run.path / "stage1" / "metrics.jsonl")]
    evals = [row["eval_loss"] for row in log if "eval_loss" in row]
    assert evals[-1] < evals[0]
    result = train_stage(recipe, run, "stage2").summary
    assert result["steps"] > 0
    first, second = adapter(recipe, run), adapter(recipe, run, "stage2")
    assert first.keys() == second.keys()
    assert not all(torch.equal(first[n], second[n]) for n in first)
    if stage.get("freeze_layers") and lora.get("method") != "full":
        assert not any(".layers.0." in n for n in first)
    if lora.get("targets"):
        assert {n.split(".")[-3] for n in first} == {"q_proj", "v_proj"}


@pytest.mark.filterwarnings(
    "ignore:.*bitsandbytes:UserWarning", "ignore::FutureWarning"
)  # its CPU kernels announce themselves
def test_four_bit_base(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    base = make_base(tmp_path / "base", hidden=128)  # bitsandbytes quantises in blocks of 64
    recipe, run = make_run(tmp_path / "run", base, lora={"quantize": "nf4"}, dtype="bf16", train=8, valid=2)
    train_stage(recipe, run, "stage1")
    evals = [row["eval_loss"] for _, row in read_jsonl(run.path / "stage1" / "metrics.jsonl") if "eval_loss" in row]
    assert evals[-1] < evals[0]


@pytest.mark.parametrize("method", ["lora", "pissa", "full"])
def test_the_saved_weights_are_the_trained_ones(base: Path, tmp_path: Path, method: str) -> None:
    from hearmeglm.models.collate import pad
    from hearmeglm.models.load import load_model, load_tokenizer
    from hearmeglm.models.template import find_template

    recipe, run = make_run(tmp_path / "run", base, lora={"method": method}, epochs=4)
    result = train_stage(recipe, run, "stage1").summary
    ref = resolve(f"{run.path}:stage1")
    assert (ref.adapter is None) == (method == "full")
    model = load_model(ref.source, adapter=ref.adapter, dtype="fp32")
    tokenizer = load_tokenizer(ref.source)
    template = find_template("auto", tokenizer)
    rows = [template.encode(d.messages, tokenizer) for d in read_split(run.data.path / "valid.jsonl")["persona"]]
    with torch.no_grad():
        assert float(model(**pad(rows, 0)).loss) == pytest.approx(result["eval_loss"], rel=5e-3)  # bfloat16 on disk


def test_weights_of_the_mix(base: Path, tmp_path: Path) -> None:
    from hearmeglm.models.load import load_tokenizer
    from hearmeglm.models.template import find_template
    from hearmeglm.train.mix import build_mix

    recipe, run = make_run(tmp_path / "run", base)
    tokenizer = load_tokenizer(str(base))
    template = find_template("auto", tokenizer)
    for weight, examples in ((0.5, 6), (1, 12), (2.25, 27)):
        stage = recipe.stages["stage2"].model_copy(update={"mix": {"talks": weight, "persona": 0}})
        mixed = build_mix(
            recipe.model_copy(update={"stages": {"stage2": stage}}), "stage2", run.data.path, template, tokenizer
        )
        assert mixed.counts["talks"]["examples"] == examples == len(mixed.train)
        assert len(mixed.valid) == 4


def test_refusals(base: Path, tmp_path: Path) -> None:
    recipe, run = make_run(tmp_path / "run", base)
    with pytest.raises(RunError, match="expected stage 'stage1' to be trained before 'stage2'"):
        train_stage(recipe, run, "stage2")
    with pytest.raises(RunError, match="expected one of the stages"):
        train_stage(recipe, run, "stage3")
    write_jsonl(run.data.path / "train.jsonl", dialogues(3, "other"))
    with pytest.raises(DataError, match="expected dialogues of persona, found none"):
        train_stage(recipe, run, "stage1")
    (run.data.path / "train.jsonl").write_text(json.dumps({"id": 1}) + "\n")
    with pytest.raises(DataError, match=r"train.jsonl:1: expected a dialogue"):
        train_stage(recipe, run, "stage1")
    (run.data.path / "train.jsonl").unlink()
    with pytest.raises(RunError, match=r"expected train.jsonl, found nothing"):
        train_stage(recipe, run, "stage1")
    deep, run = make_run(tmp_path / "deep", base, freeze_layers=2)
    with pytest.raises(RecipeError, match="less than the base's 2 layers"):
        train_stage(deep, run, "stage1")


def test_schedule() -> None:
    plan = Schedule(steps=10, steps_per_epoch=4.0, eval_steps=4, save_steps=3, patience=2)
    assert [s for s in range(1, 11) if plan.evaluates(s)] == [4, 8, 10]
    assert [s for s in range(1, 11) if plan.saves(s)] == [3, 4, 6, 8, 9, 10]
    assert not plan.stops([{"eval_loss": x} for x in (3.0, 2.0, 2.5)])
    assert plan.stops([{"eval_loss": x} for x in (3.0, 2.0, 2.5, 2.0)])


def test_an_epoch_of_no_whole_number_of_steps_is_evaluated_once_at_its_end() -> None:
    stage = Stage(mix={"persona": 1}, batch_size=2, accumulation=4)
    one, _ = make_schedule(stage, 851, list(range(851)), 1, True)
    assert one.steps == 107
    assert [s for s in range(1, 108) if one.evaluates(s)] == [107]
    two, _ = make_schedule(stage, 851, list(range(851)) * 2, 1, True)
    assert [s for s in range(1, two.steps + 1) if two.evaluates(s)] == [107, 213]


def test_smoothing_starts_at_the_first_value_and_keeps_a_constant() -> None:
    assert smooth([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert smooth([4.0, 0.0])[0] == 4.0


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")  # trl's own
def test_preferences_raise_the_chosen_answer_above_the_rejected_one(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    from hearmeglm.recipe import parse_recipe
    from hearmeglm.train import checkpoints
    from hearmeglm.train.watch import Watch

    def broken_at(step: int):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == step:
                raise KeyboardInterrupt

        return on_step_end

    recipe, run = make_run(tmp_path / "run", base)
    pairs = tmp_path / "pairs.jsonl"
    write_jsonl(
        pairs,
        [
            {"prompt": [{"role": "user", "content": f"I am sad {i}"}], "chosen": "I hear you", "rejected": "Go away"}
            for i in range(8)
        ],
    )
    tree = recipe.model_dump(mode="json")
    tree["stages"]["stage3"] = {**tree["stages"]["stage2"], "mix": {}, "preferences": str(pairs), "epochs": 6}
    recipe = parse_recipe(tree)
    for stage in recipe.stages:
        result = train_stage(recipe, run, stage).summary
    assert result["reward_accuracy"] == 1.0
    assert result["reward_margin"] > 0.1
    assert adapter(recipe, run, "stage3").keys() == adapter(recipe, run, "stage2").keys()
    assert train_stage(recipe, run, "stage3").skipped

    # broken off and started again: the same weights, from the checkpoint on; and pairs as the studio's votes write them
    votes = [
        {**p, **{k: [{"role": "assistant", "content": p[k]}] for k in ("chosen", "rejected")}}
        for _, p in read_jsonl(pairs)
    ]
    whole = adapter(recipe, run, "stage3")
    write_jsonl(pairs, votes)
    monkeypatch.setattr(Watch, "on_step_end", broken_at(8))
    with pytest.raises(KeyboardInterrupt):
        train_stage(recipe, run, "stage3")
    monkeypatch.undo()
    assert checkpoints.newest(run.step("stage3").path / "checkpoints") is not None
    train_stage(recipe, run, "stage3")
    again = adapter(recipe, run, "stage3")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert "goes on from step" in capsys.readouterr().err

    pairs.write_text('{"prompt": [], "chosen": "a", "rejected": "b"}\n')
    with pytest.raises(DataError, match=r"pairs.jsonl:1: expected prompt"):
        train_stage(recipe, run, "stage3")
