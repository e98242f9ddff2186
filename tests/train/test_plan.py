"""The plan's counts are the training's; the memory table is the one that was measured; the doctor speaks plainly."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from hearmeglm.recipe import parse_recipe
from hearmeglm.train.doctor import as_json, examine
from hearmeglm.train.memory import Shape, table
from hearmeglm.train.plan import model_shape, plan
from hearmeglm.train.stage import train_stage

from .tiny import make_base, make_run


def test_counts_are_those_of_the_training(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    recipe, run = make_run(tmp_path / "run", base)
    if sys.platform == "linux":  # what the process held before is neither planned for nor reported
        np.ones(200_000_000).sum()
    made = plan(recipe, run)
    done = train_stage(recipe, run, "stage1").summary
    first = made.stages[0]
    assert made.trainable == done["trainable_parameters"]
    assert made.parameters == done["all_parameters"]
    assert (first.steps, first.tokens) == (done["steps"], done["num_input_tokens_seen"])
    assert made.fits
    assert first.seconds is not None
    assert first.seconds > 0
    assert made.tokens_per_second is not None
    assert first.peak_bytes == pytest.approx(done["peak_memory_bytes"], rel=0.2)


CHATGLM3 = Shape(4096, 13696, 28, 4096, 256, 65024, 6_243_584_000 + 16_658_432, 5_710_000_000, 16_658_432)
MEASURED = {  # notes on ChatGLM3: GB for 1, 2, 4 and 6 sequences of 1,024 tokens
    ("bf16", True): (15.1, 16.8, 20.2, 23.7),
    ("bf16", False): (22.1, 30.9, 48.5, 66.1),
    ("nf4", True): (6.8, 8.5, 12.0, 15.4),
    ("nf4", False): (13.9, 22.7, 40.3, 57.9),
}


def test_memory_of_a_6b_base_is_within_four_per_cent_of_the_table() -> None:
    for row in table(CHATGLM3, 1024, fused=False):
        want = MEASURED[row["weights"], row["checkpointing"]]
        assert tuple(row["gb"].values()) == pytest.approx(want, rel=0.04)
    for plain, fast in zip(table(CHATGLM3, 1024, fused=False), table(CHATGLM3, 1024, fused=True), strict=True):
        assert all(fast["gb"][b] < plain["gb"][b] for b in plain["gb"])


def test_chatglm3_has_the_trained_parameters_of_the_notes(tmp_path: Path) -> None:
    from transformers import GlmConfig

    GlmConfig(
        vocab_size=65024, hidden_size=4096, intermediate_size=13696, num_hidden_layers=28, num_attention_heads=32, num_key_value_heads=2,
        head_dim=128, attention_bias=True, rms_norm_eps=1e-5, tie_word_embeddings=False, pad_token_id=0,
    ).save_pretrained(tmp_path)  # fmt: skip
    recipe = parse_recipe(
        {
            "name": "x",
            "base": str(tmp_path),
            "stages": {"stage1": {"mix": {"persona": 1}}},
            "evaluation": {"models": ["base"]},
        }
    )
    shape = model_shape(recipe)
    assert shape.trainable == 16_658_432
    assert shape.parameters == 6_243_584_000 + 16_658_432


def test_doctor_says_what_is_missing_and_how_to_get_it() -> None:
    findings = {f["name"]: f for f in as_json(examine())}
    assert findings["python"]["state"] == "ok"
    assert findings["device"]["found"]
    for f in findings.values():
        if f["state"] != "ok":
            assert f["needed_for"]
            assert f["hint"]
