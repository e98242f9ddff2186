"""A finished tiny run: base and two tuned stages (random adapters), with test dialogues."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


def finish_stage(run, base, stage, seed):
    import torch
    from peft import LoraConfig, get_peft_model

    from hearmeglm.models.load import load_model

    torch.manual_seed(seed)
    model = get_peft_model(
        load_model(str(base), dtype="fp32", device="cpu"),
        LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    step = run.step(stage)
    step.begin()
    model.save_pretrained(step.path / "adapter")
    step.finish({}, {}, seed=seed)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    from hearmeglm.files import write_jsonl
    from hearmeglm.run import RunDir
    from train.tiny import dialogues, make_base, make_run

    folder = tmp_path_factory.mktemp("evals")
    base = make_base(folder / "base")
    recipe, run = make_run(folder / "run", base)
    sampling = {"max_new_tokens": 12}
    evaluation = recipe.evaluation.model_copy(
        update={
            "models": ["base", "base-prompted", "stage1", "stage2"],
            "turns": "every",
            "batch_size": 4,
            "sampling": recipe.evaluation.sampling.model_copy(update=sampling),
        }
    )
    recipe = recipe.model_copy(update={"evaluation": evaluation})
    run = RunDir.create(run.path, recipe)
    for n, stage in enumerate(("stage1", "stage2")):
        finish_stage(run, base, stage, n)
    write_jsonl(run.data.path / "test.jsonl", [*dialogues(6, "talks", 200), *dialogues(2, "persona", 300)])
    return recipe, run
