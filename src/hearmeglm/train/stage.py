"""One fine-tuning stage, from RUN/data to RUN/<stage>/adapter."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RecipeError, RunError
from ..files import read_json, sha256_file, write_json, write_jsonl
from ..models.reference import resolve, weights_dir
from ..recipe import Recipe, Stage
from ..run import Result, RunDir, Step
from . import checkpoints
from .adapter import build_model, describe, load_weights, save_weights
from .arguments import make_optimizer, make_schedule, training_arguments
from .memory import wants_checkpointing, widest
from .mix import Mix, build_mix
from .outcome import result_rows
from .usage import forget_peak, give_memory_back, peak_memory

if TYPE_CHECKING:
    from rich.console import Console

CHECKPOINTS = "checkpoints"


def train_stage(recipe: Recipe, run: RunDir, stage: str, *, console: Console | None = None) -> Result:
    """Train one stage of a run; a no-op if it is done and nothing it was made from has changed.

    Interrupted (even by `kill -9`), the same call goes on from the last sealed checkpoint and ends with the same weights, bit by bit on a CPU.

    Args:
        recipe: the run's recipe.
        run: with `data/{train,valid}.jsonl` in place, and the stage before trained.
        stage: a key of `recipe.stages`.
        console: where messages and progress go; stderr by default.

    Raises:
        RunError: the data or the stage before are missing.
        DataError, ModelError, RecipeError: input that does not fit.
        TrainingDiverged: NaN or exploding loss; the last good checkpoint stays in RUN/<stage>/checkpoints.
    """
    step = run.step(stage)
    start = _start(recipe, run, stage)
    inputs = _inputs(recipe, run, stage, start)
    if done := step.done(inputs):
        return done
    job = _Job(recipe, run, step, stage, start, inputs, console or _stderr())
    return job.run_all()


def previous_stage(recipe: Recipe, stage: str) -> str | None:
    """The stage whose weights `stage` starts from."""
    names = list(recipe.stages)
    if stage not in names:
        raise RunError(f"expected one of the stages {', '.join(names)}, found {stage!r}", where=recipe.name)
    place = names.index(stage)
    return names[place - 1] if place else None


def _start(recipe: Recipe, run: RunDir, stage: str) -> Path | None:
    before = previous_stage(recipe, stage)
    if before is None:
        return given_adapter(recipe)
    if run.step(before).manifest() is None:
        raise RunError(
            f"expected stage {before!r} to be trained before {stage!r}, found no manifest",
            where=str(run.step(before).path),
            hint=f"hearme train {run.path} --stage {before}",
        )
    return weights_dir(recipe, run.step(before).path)


def given_adapter(recipe: Recipe) -> Path | None:
    """The folder of `lora.start`; None without one.

    Raises:
        RecipeError: not an adapter, or one of another base, rank or alpha.
    """
    if recipe.lora.start is None:
        return None
    where, found = "lora.start", resolve(recipe.lora.start)
    if found.adapter is None or recipe.lora.method == "full":
        raise RecipeError(
            f"expected an adapter to go on from with LoRA, found {recipe.lora.start} with method {recipe.lora.method}",
            where=where,
            hint="name a folder with adapter_config.json; for full tuning put the model into `base`",
        )
    config = read_json(found.adapter / "adapter_config.json")
    has = {"base": found.source, "rank": config.get("r"), "alpha": config.get("lora_alpha")}
    wanted = {"base": recipe.base, "rank": recipe.lora.rank, "alpha": recipe.lora.alpha}
    if has != wanted:
        raise RecipeError(f"expected an adapter with {_told(wanted)}, found {_told(has)}", where=where)
    return found.adapter


def _told(values: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in values.items())


def _inputs(recipe: Recipe, run: RunDir, stage: str, start: Path | None) -> dict[str, str]:
    """Name -> digest of everything the stage's weights depend on."""
    inputs = {"recipe": _settings_digest(recipe, stage)}
    for split in ("train", "valid"):
        path = run.data.path / f"{split}.jsonl"
        if not path.is_file():
            raise RunError(
                f"expected {split}.jsonl, found nothing",
                where=str(run.data.path),
                hint=f"hearme prepare {run.recipe_path} --run {run.path}",
            )
        inputs[split] = sha256_file(path)
    if pairs := recipe.stages[stage].preferences:
        if not Path(pairs).is_file():
            raise RunError(
                "expected a file of rated answers, found nothing", where=pairs, hint=f"check stages.{stage}.preferences"
            )
        inputs["preferences"] = sha256_file(Path(pairs))
    if start is not None:
        for file in sorted(start.glob("*.safetensors")):
            inputs[f"start/{file.name}"] = sha256_file(file)
    return inputs


def _settings_digest(recipe: Recipe, stage: str) -> str:
    one = recipe.stages[stage].model_copy(update={"trackers": []})  # where curves go changes nothing
    return recipe.model_copy(update={"stages": {stage: one}}).digest(
        "seed", "base", "template", "trust_remote_code", "stages", "lora"
    )


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True, quiet=int(os.environ.get("RANK", "0")) > 0)


@dataclass
class _Job:
    """One stage in work."""

    recipe: Recipe
    run: RunDir
    step: Step
    stage: str
    start: Path | None
    inputs: dict[str, str]
    console: Console

    @property
    def settings(self) -> Stage:
        return self.recipe.stages[self.stage]

    @property
    def root(self) -> Path:
        return self.step.path / CHECKPOINTS

    def run_all(self) -> Result:
        from ..models.load import load_tokenizer, quiet_libraries
        from ..models.template import find_template

        quiet_libraries()
        self.main = int(os.environ.get("RANK", "0")) == 0
        if self.main:
            self.step.begin()
            checkpoints.bind(self.root, self.inputs)
            checkpoints.clean(self.root)
        tokenizer = load_tokenizer(self.recipe.base, trust_remote_code=self.recipe.trust_remote_code)
        template = find_template(self.recipe.template, tokenizer)
        if self.settings.preferences:
            from .preference import train_preferences

            self._announce_inheritance()
            summary = train_preferences(
                self.recipe, self.stage, self.step.path, self.start, template, tokenizer, self.console
            )
        else:
            mix = build_mix(self.recipe, self.stage, self.run.data.path, template, tokenizer)
            self._announce(mix)
            summary = self._train(mix, template, tokenizer)
        if not self.main:
            barrier()  # the next stage starts when this one's manifest is written
            return Result(self.stage, summary)
        files = [
            f"{weights_dir(self.recipe, self.step.path).name}/{p.name}"
            for p in sorted(weights_dir(self.recipe, self.step.path).iterdir())
            if p.is_file()
        ]
        files += ["metrics.jsonl", "result.json", "loss.png"]
        done = self.step.finish(self.inputs, summary, seed=self.recipe.seed, files=tuple(files))
        checkpoints.discard(self.root)
        give_memory_back()
        barrier()
        return done

    def _announce_inheritance(self) -> None:
        if before := previous_stage(self.recipe, self.stage) or self.recipe.lora.start:
            lora = self.recipe.lora
            what = (
                "all weights"
                if lora.method == "full"
                else f"the adapter (rank {lora.rank}, alpha {lora.alpha}, {lora.method}, targets {lora.targets})"
            )
            self.console.print(
                f"{self.stage}: inherits from {before} {what}; base {self.recipe.base}, template {self.recipe.template}; new optimizer and schedule"
            )

    def _announce(self, mix: Mix) -> None:
        self._announce_inheritance()
        say = self.console.print
        for source, n in mix.counts.items():
            say(
                f"{self.stage}: {source}: {n['dialogues']:.0f} dialogues × {n['weight']:g} = {n['examples']:.0f} an epoch, {n['tokens']:.0f} tokens, {n['supervised_tokens']:.0f} supervised"
            )
        for note in mix.notes:
            say(f"{self.stage}: {note}")

    def _train(self, mix: Mix, template: Any, tokenizer: Any) -> dict[str, Any]:
        import torch
        from transformers import set_seed

        from ..models.collate import order, pack, pad
        from ..models.engine import accelerate_training, checkpoint_layers
        from .curves import draw_loss
        from .samples import answer
        from .trainer import StageTrainer
        from .watch import Watch

        settings = self.settings
        set_seed(self.recipe.seed)
        args = training_arguments(self.recipe, self.stage, self.root)
        barrier()  # the first process has put the checkpoint folder in order
        forget_peak(torch)
        model = build_model(self.recipe, settings, self.start, loading_device(str(args.device)))
        if self.recipe.lora.method == "pissa" and self.start is None and self.main:
            _save_pissa_start(model, self.step.path)
        engine = accelerate_training(model, packing=settings.packing, smoothing=settings.label_smoothing)
        for reason in engine.reasons:
            self.console.print(f"{self.stage}: {reason}")
        lengths = [len(e.input_ids) for e in mix.train]
        indices = order(
            lengths,
            settings.epochs,
            settings.batch_size,
            settings.draw_seed(self.recipe.seed),
            group=not engine.packing,
        )
        schedule, indices = make_schedule(settings, len(mix.train), indices, args.world_size, bool(mix.valid))
        if wants_checkpointing(
            self.recipe, settings, model, widest(lengths, indices, settings.batch_size), str(args.device)
        ):
            checkpoint_layers(model)
            self.console.print(f"{self.stage}: gradient checkpointing is on (less memory, slower)")
        last = checkpoints.newest(self.root)
        log = checkpoints.log_of(last)
        watch = Watch(
            self.stage, self.step.path / "metrics.jsonl", self.console, log[-1].get("seconds", 0.0) if log else 0.0
        )
        samples = self.step.path / "samples.jsonl"
        rows = [r for r in _rows(samples) if last is not None and r["step"] <= checkpoints.step_of(last)]

        def sample(at_step: int) -> None:
            if not settings.samples or (not self.main and not trainer.is_fsdp_enabled):
                return
            said = answer(trainer.model, template, tokenizer)
            rows.extend(
                {"step": at_step, "epoch": round(at_step / schedule.steps_per_epoch, 3), "question": q, "answer": a}
                for q, a in said.items()
            )
            if self.main:
                write_jsonl(samples, rows)
                for q, a in said.items():
                    self.console.print(f"  step {at_step} {q}: {' '.join(a.split())}", markup=False)

        trainer = StageTrainer(
            model,
            args,
            schedule=schedule,
            collate=pack if engine.packing else partial(pad, pad_id=tokenizer.pad_token_id or 0),
            train=[mix.train[i] for i in indices],
            valid=mix.valid,
            on_evaluate=sample,
            callbacks=[watch],
            optimizers=make_optimizer(model, self.recipe, settings, args),
        )
        if last is not None:
            self.console.print(f"{self.stage}: goes on from step {checkpoints.step_of(last)} of {schedule.steps}")
        if last is None or not (schedule.stops(log) or log[-1]["step"] >= schedule.steps):
            try:
                with engine.training(model):
                    trainer.train(resume_from_checkpoint=str(last) if last else None)
            finally:
                watch.close()
            log = trainer.state.log_history
            flos = float(trainer.state.total_flos)
            steps = trainer.state.global_step
        else:
            state = json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))
            flos, steps = float(state["total_flos"]), int(state["global_step"])
            load_weights(model, last)
        from .trainer import best_step

        best = best_step(log)
        restored = settings.patience is not None and best is not None and best != steps
        if restored:
            load_weights(model, checkpoints.at(self.root, best or 0))
        result = result_rows(log, flos, watch.seconds, schedule, indices, mix, settings, args.world_size)
        result |= {
            "best_step": best,
            "restored_best": restored,
            "stopped_early": steps < schedule.steps,
            "device": str(args.device),
            "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        }
        result |= describe(model) | {
            "packing": engine.packing,
            "fused_layers": engine.fused,
            "chunked_loss": engine.loss,
            "sources": mix.counts,
            "notes": mix.notes + list(engine.reasons),
        }
        result["peak_memory_bytes"] = peak_memory(torch)
        if self.main:
            save_weights(model, weights_dir(self.recipe, self.step.path), self.recipe)
            write_json(self.step.path / "result.json", result)
            write_jsonl(self.step.path / "metrics.jsonl", log)
            draw_loss(log, self.step.path / "loss.png", f"{self.recipe.name}: {self.stage}")
        return result


def loading_device(device: str) -> str:
    """Where weights are loaded: in RAM if FSDP or DeepSpeed will shard them, since the whole model may not fit on one card."""
    sharded = any(os.environ.get(f"ACCELERATE_USE_{name}", "false") == "true" for name in ("FSDP", "DEEPSPEED"))
    return "cpu" if sharded else device


def barrier() -> None:
    """Wait for the other processes of a distributed training; nothing to do alone."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def _save_pissa_start(model: Any, folder: Path) -> None:
    model.save_pretrained(folder / "pissa_initial")


def _rows(path: Path) -> list[dict[str, Any]]:
    from ..files import read_jsonl

    return [row for _, row in read_jsonl(path)] if path.is_file() else []
