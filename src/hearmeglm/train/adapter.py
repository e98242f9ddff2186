"""The trained weights of a stage: made fresh, or taken over from the stage before; saved in bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ModelError, RecipeError
from ..models.load import load_model, load_tokenizer
from ..recipe import Lora, Recipe, Stage


def build_model(recipe: Recipe, stage: Stage, start: Path | None, device: str) -> Any:
    """The base with what is trained on it, in training mode.

    Args:
        start: adapter (or whole model, if tuned fully) of the stage before; None for a first stage.
        device: where the weights go.

    Returns:
        A PeftModel; for full tuning the bare transformers model with float32 weights.
    """
    lora = recipe.lora
    if lora.method == "full":
        if lora.quantize != "none":
            raise RecipeError(
                "full tuning cannot train 4-bit weights",
                where="lora.quantize",
                hint="use method lora, or quantize none",
            )
        model = load_model(
            str(start or recipe.base), dtype="fp32", device=device, trust_remote_code=recipe.trust_remote_code
        )
        _freeze_layers(model, stage.freeze_layers)
        return model.train()
    options: dict[str, Any] = {}
    if lora.quantize == "nf4":
        options = {"quantization_config": _nf4(), "device_map": {"": device}}
    model = load_model(
        recipe.base, dtype=stage.dtype, device=device, trust_remote_code=recipe.trust_remote_code, **options
    )
    model.requires_grad_(False)
    if start is not None:
        from peft import PeftModel

        wrapped = PeftModel.from_pretrained(model, start, is_trainable=True)
    else:
        from peft import get_peft_model

        wrapped = get_peft_model(model, lora_config(lora, model, stage.freeze_layers))
    return wrapped.train()


def lora_config(lora: Lora, model: Any, freeze: int) -> Any:
    """PEFT's settings for the recipe's adapter.

    Raises:
        RecipeError: settings that contradict each other or the base.
    """
    from peft import LoraConfig

    layers = _layer_count(model)
    if freeze >= layers:
        raise RecipeError(f"expected less than the base's {layers} layers, found {freeze}", where="freeze_layers")
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    if freeze and targets == "all-linear":
        targets = linear_names(model)  # peft restricts layers only for named modules
    try:
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=targets,
            layers_to_transform=list(range(freeze, layers)) if freeze else None,
            use_rslora=lora.method == "rslora",
            use_dora=lora.method == "dora",
            init_lora_weights="pissa_niter_16" if lora.method == "pissa" else True,
        )
    except ValueError as err:
        raise RecipeError(str(err), where="lora") from None


def linear_names(model: Any) -> list[str]:
    """Last name parts of every linear layer but the output layer: what `all-linear` stands for."""
    import torch

    head = model.get_output_embeddings()
    return sorted(
        {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head}
    )


def _layer_count(model: Any) -> int:
    return int(model.config.get_text_config().num_hidden_layers)


def _freeze_layers(model: Any, freeze: int) -> None:
    if not freeze:
        return
    if freeze >= _layer_count(model):
        raise RecipeError(
            f"expected less than the base's {_layer_count(model)} layers, found {freeze}", where="freeze_layers"
        )
    for layer in model.get_decoder().layers[:freeze]:
        layer.requires_grad_(False)
    model.get_input_embeddings().requires_grad_(False)


def _nf4() -> Any:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise ModelError(
            "4-bit training needs bitsandbytes", where="lora.quantize", hint="pip install 'hearmeglm[qlora]'"
        ) from None
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def save_weights(model: Any, folder: Path, recipe: Recipe) -> None:
    """Write the adapter (or the whole tuned model) in bfloat16.

    A PiSSA adapter is written as the plain LoRA of twice the rank that does the same on the untouched base.
    """
    import torch

    if recipe.lora.method == "full":
        _copy_as(model, torch.bfloat16).save_pretrained(folder)
        load_tokenizer(recipe.base, trust_remote_code=recipe.trust_remote_code).save_pretrained(folder)
        return
    if recipe.lora.method == "pissa" and (initial := folder.parent / "pissa_initial").is_dir():
        model.save_pretrained(folder, path_initial_model_for_weight_conversion=str(initial))
    else:
        model.save_pretrained(folder)
    _narrow(folder / "adapter_model.safetensors")


def _copy_as(model: Any, dtype: Any) -> Any:
    return model.to(dtype)


def _narrow(path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = {k: v.to(torch.bfloat16).contiguous() for k, v in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def describe(model: Any) -> dict[str, int]:
    """Trained and total parameters."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    return {"trainable_parameters": trained, "all_parameters": total}


def load_weights(model: Any, folder: Path) -> None:
    """Put a checkpoint's weights into the model."""
    from safetensors.torch import load_file

    if (folder / "adapter_model.safetensors").is_file():
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
        return
    for file in sorted(folder.glob("*.safetensors")):
        model.load_state_dict(load_file(file), strict=False)
