"""Every family goes the whole way on a tiny random model: prepare, train, generate, merge, export; four template users agree."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from family_models import FAMILIES

from hearmeglm.data.prepare import prepare
from hearmeglm.models.export import export
from hearmeglm.models.generate import generate
from hearmeglm.models.load import load_model, load_tokenizer
from hearmeglm.models.reference import ModelRef, resolve
from hearmeglm.models.template import IGNORE, Template, find_template, load_template
from hearmeglm.recipe import Sampling, parse_recipe
from hearmeglm.run import RunDir
from hearmeglm.train.stage import train_stage
from hearmeglm.types import Message

pytest.importorskip("sentencepiece")
TALK = (
    Message("system", "你是心理咨询师。"),
    Message("user", "我最近总是睡不好。"),
    Message("assistant", "That sounds hard."),
    Message("user", " Tell me more, 2024? "),
    Message("assistant", "慢慢来，我陪着你。"),
)
GREEDY = Sampling(max_new_tokens=12)  # type: ignore[call-arg]


@dataclass
class Family:
    name: str
    run: RunDir
    ref: ModelRef
    tokenizer: Any
    template: Template


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARME_CACHE", str(folder / "cache"))
        base = FAMILIES[name](folder / "base")
        rows = [
            {"messages": [{"role": "user", "content": f"我睡不好 {i} {'很久了' * i}"}, {"role": "assistant", "content": f"我在听，慢慢来 {i * 7}。"}]}
            for i in range(8)
        ]  # fmt: skip
        (folder / "talks.jsonl").write_text(
            "\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8"
        )
        recipe = parse_recipe(
            {
                "name": name,
                "base": str(base),
                "data": {
                    "sources": {"talks": {"path": str(folder / "talks.jsonl"), "format": "openai"}},
                    "split": {"train": 0.75, "valid": 0.25, "test": 0},
                    "near_duplicate": 0,
                },
                "stages": {
                    "stage1": {
                        "mix": {"talks": 1}, "max_steps": 2, "batch_size": 2, "accumulation": 1, "learning_rate": 0.01, "dtype": "fp32",
                        "samples": False, "trackers": [], "max_length": 256,
                    }
                },
                "evaluation": {"models": ["base"]},
            }
        )  # fmt: skip
        run = RunDir.create(folder / "run", recipe)
        prepare(recipe, run)
        train_stage(recipe, run, "stage1")
        ref = resolve(str(run.path))
        tokenizer = load_tokenizer(ref.source)
        yield Family(name, run, ref, tokenizer, find_template(ref.template, tokenizer))


def test_the_family_is_found_by_its_control_tokens_and_trains(family: Family) -> None:
    assert family.template.name == family.name
    assert family.ref.adapter is not None
    from safetensors.torch import load_file

    weights = load_file(family.ref.adapter / "adapter_model.safetensors")
    assert any(v.abs().max() > 0 for k, v in weights.items() if "lora_B" in k)


def test_prompt_and_training_sequence_agree_up_to_the_reply(family: Family) -> None:
    encoded = family.template.encode(TALK[:3], family.tokenizer)
    first = next(i for i, label in enumerate(encoded.labels) if label != IGNORE)
    assert family.template.encode_prompt(TALK[:2], family.tokenizer) == encoded.input_ids[:first]


def test_merged_and_exported_weights_answer_as_base_and_adapter_do(family: Family, tmp_path: Path) -> None:
    import torch

    done = export(family.ref, tmp_path / "hf", "hf")
    ids = family.template.encode_prompt(TALK[:4], family.tokenizer)
    apart = load_model(family.ref.source, adapter=family.ref.adapter, merge=False, dtype="fp32", device="cpu")
    merged = load_model(str(done.folder), dtype="fp32", device="cpu")
    with torch.no_grad():
        want, got = (m(input_ids=torch.tensor([ids])).logits for m in (apart, merged))
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)
    # the exported tokenizer renders the same ids from its own Jinja
    tokenizer = load_tokenizer(str(done.folder))
    for n, prompt in ((4, True), (2, True), (5, False)):
        text = tokenizer.apply_chat_template(
            [m.to_json() for m in TALK[:n]], tokenize=False, add_generation_prompt=prompt
        )
        ours = family.template.encode_prompt(TALK[:n], family.tokenizer)
        if not prompt:
            ours = family.template.encode(TALK[:n], family.tokenizer).input_ids
            end = len(
                family.template._ids(family.template.end, "", family.tokenizer)
            )  # a talk goes on: no end in Jinja
            ours = ours[: len(ours) - end]
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == ours


def test_llama_cpp_sees_the_same_ids_and_says_the_same(family: Family, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="needs the `llamacpp` extra")
    from hearmeglm.chat.llamacpp_model import LlamaCppModel, request

    done = export(family.ref, tmp_path / "gguf", "gguf", quants=["f32"])
    engine = LlamaCppModel(done.folder / next(iter(done.files)), cache_type="f32", users=1)
    assert engine.template == family.template
    prompt = family.template.encode_prompt(TALK[:4], family.tokenizer)
    assert engine.template.encode_prompt(TALK[:4], engine.tokenizer) == prompt
    rendered = engine._post("/apply-template", {"messages": [m.to_json() for m in TALK[:4]]})["prompt"]
    by_file = engine._post("/tokenize", {"content": rendered, "add_special": True, "parse_special": True})["tokens"]
    assert by_file == prompt
    model = load_model(family.ref.source, adapter=family.ref.adapter, dtype="fp32", device="cpu")
    ours = generate(model, [prompt], GREEDY, stop_ids=family.template.stop_ids(family.tokenizer))[0]
    theirs = engine._post("/completion", {**request(prompt, GREEDY, 512), "stream": False})["tokens"]
    assert theirs[: len(ours.ids)] == ours.ids
    assert (done.folder / "Modelfile").is_file()


def test_spelled_control_tokens_stay_text_for_every_user(family: Family, tmp_path: Path) -> None:
    control = {family.tokenizer.convert_tokens_to_ids(s) for s in load_template(family.name).special}
    normal = family.template.encode_prompt([Message("user", "x")], family.tokenizer)
    for spelled in (*family.template.special, "a" + "".join(family.template.special[-2:]) + "b"):
        ids = family.template.encode_prompt([Message("user", spelled)], family.tokenizer)
        assert sum(i in control for i in ids) == sum(i in control for i in normal), spelled
        encoded = family.template.encode([Message("user", "x"), Message("assistant", spelled)], family.tokenizer)
        plain = family.template.encode([Message("user", "x"), Message("assistant", "x")], family.tokenizer)
        assert sum(i in control for i in encoded.input_ids) == sum(i in control for i in plain.input_ids), spelled
