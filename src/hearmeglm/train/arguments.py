"""A stage's settings in transformers' words: arguments, optimizer, schedule."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..recipe import Recipe, Stage

OPTIMIZERS = {"adamw": "adamw_torch", "adafactor": "adafactor", "sgd": "sgd"}


def make_schedule(
    settings: Stage, examples: int, indices: list[int], world: int, has_valid: bool
) -> tuple[Any, list[int]]:
    """Steps, and the order cut to them if the stage has `max_steps`."""
    from .trainer import Schedule

    per_step = settings.batch_size * settings.accumulation * world
    if settings.max_steps is not None:
        indices = indices[: settings.max_steps * per_step]
    steps = math.ceil(math.ceil(len(indices) / settings.batch_size / world) / settings.accumulation)
    per_epoch = examples / per_step
    epoch = math.ceil(per_epoch)  # rounded down, the last step but one would be evaluated as well as the last
    eval_steps = (settings.eval_steps or epoch) if has_valid else 0
    save_steps = settings.save_steps or (0 if has_valid else epoch)
    return Schedule(steps, per_epoch, eval_steps, save_steps, settings.patience), indices


def training_arguments(recipe: Recipe, stage: str, root: Path, make: Any = None, **extra: Any) -> Any:
    """transformers' arguments for a stage.

    Args:
        make: a subclass of TrainingArguments to make instead. extra: further arguments for it.

    Raises:
        RecipeError: transformers refuses them.
    """
    import torch
    from transformers import TrainingArguments

    from ..models.load import default_device, resolve_dtype

    settings = recipe.stages[stage]
    device = default_device()
    dtype = resolve_dtype(settings.dtype, device)
    full = recipe.lora.method == "full"
    kwargs: dict[str, Any] = {}
    if "min_lr" in settings.scheduler:
        kwargs["lr_scheduler_kwargs"] = {"min_lr_rate": 0.1}
    common: dict[str, Any] = dict(
        output_dir=str(root),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        num_train_epochs=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=OPTIMIZERS[settings.optimizer],
        neftune_noise_alpha=settings.neftune,
        bf16=full and dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        report_to=settings.trackers or "none",
        run_name=f"{recipe.name}-{stage}",
        remove_unused_columns=False,
        dataloader_pin_memory=device == "cuda",
        seed=recipe.seed,
        use_cpu=device == "cpu",
        ddp_backend="gloo" if device == "cpu" and "WORLD_SIZE" in os.environ else None,
        ddp_find_unused_parameters=False,
        log_level="error",
        **kwargs,
    )
    try:
        return (make or TrainingArguments)(**(common | extra))
    except (ImportError, ValueError) as err:  # a tracker that is not installed, say
        raise RecipeError(str(err).splitlines()[0], where=f"stages.{stage}") from None


def make_optimizer(model: Any, recipe: Recipe, settings: Stage, args: Any) -> tuple[Any, Any]:
    """LoRA+ gives the B matrices their own learning rate (Hayou et al. 2024, arXiv:2402.12354); else the Trainer makes its own."""
    if recipe.lora.lr_ratio is None or recipe.lora.method == "full":
        return None, None
    from peft.optimizers import create_loraplus_optimizer
    from transformers import Trainer

    cls, kwargs = Trainer.get_optimizer_cls_and_kwargs(args, model)
    kwargs.pop("lr", None)
    optimizer = create_loraplus_optimizer(
        model,
        cls,
        lr=settings.learning_rate,
        loraplus_lr_ratio=recipe.lora.lr_ratio,
        loraplus_weight_decay=settings.weight_decay,
        **kwargs,
    )
    return optimizer, None
