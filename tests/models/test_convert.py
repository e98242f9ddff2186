"""Conversion of any size and form of checkpoint: shards, .bin, interruption, refusals; all four kinds of adapters."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from family_models import chatglm3, original_tensors
from safetensors.torch import load_file, save_file

from hearmeglm.errors import ModelError
from hearmeglm.models import convert as engine
from hearmeglm.models.chatglm3 import convert_chatglm3, is_chatglm3
from hearmeglm.models.chatglm3_adapter import convert_adapter
from hearmeglm.models.load import base_dir, load_model

pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chatglm3(tmp_path_factory.mktemp("source") / "chatglm3-tiny")


def shard(tensors: dict[str, Any], folder: Path, suffix: str, parts: int = 3) -> None:
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    weight_map = {}
    for i in range(parts):
        names = list(tensors)[i::parts]
        file = f"{stem}-{i + 1:05}-of-{parts:05}{suffix}"
        some = {n: tensors[n].clone() for n in names}
        save_file(some, folder / file) if suffix == ".safetensors" else torch.save(some, folder / file)
        weight_map |= dict.fromkeys(names, file)
    (folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def other_form(source: Path, folder: Path, form: str) -> Path:
    """The same checkpoint in one .bin, in .bin shards, in safetensors shards, or in the format before PyTorch 1.6."""
    folder.mkdir()
    for name in ("config.json", "tokenizer.model"):
        (folder / name).write_bytes((source / name).read_bytes())
    tensors = load_file(source / "model.safetensors")
    if form == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    elif form == "old-bin":
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    else:
        shard(tensors, folder, ".bin" if form == "bin-shards" else ".safetensors")
    return folder


@pytest.mark.parametrize("form", ["bin", "old-bin", "bin-shards", "shards"])
def test_every_form_gives_the_same_bytes(source: Path, tmp_path: Path, form: str) -> None:
    one = convert_chatglm3(source, tmp_path / "one")
    other = convert_chatglm3(other_form(source, tmp_path / form, form), tmp_path / "other", shard_bytes=100_000)
    assert other.tensors == one.tensors
    want = load_file(one.folder / "model.safetensors")
    files = sorted(other.folder.glob("model-*.safetensors"))
    assert len(files) > 2
    got = {k: v for f in files for k, v in load_file(f).items()}
    assert want.keys() == got.keys()
    assert all(torch.equal(want[k], got[k]) for k in want)
    assert torch.equal(load_model(str(other.folder), dtype="fp32").lm_head.weight, want["lm_head.weight"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [True, False])
def test_the_number_format_is_kept(tmp_path: Path, dtype: torch.dtype, bias: bool) -> None:
    folder = chatglm3(tmp_path / "source", num_attention_heads=8, multi_query_group_num=4, add_qkv_bias=bias)
    save_file(
        {k: v.to(dtype) for k, v in load_file(folder / "model.safetensors").items()}, folder / "model.safetensors"
    )
    done = convert_chatglm3(folder, tmp_path / "native")
    model = load_model(str(done.folder), dtype="fp32", device="cpu")
    assert json.loads((done.folder / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    old = load_file(folder / "model.safetensors")["transformer.encoder.layers.1.self_attention.query_key_value.weight"]
    attention = model.model.layers[1].self_attn
    new = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
    assert torch.equal(new, old.float())


def test_an_interrupted_conversion_goes_on_and_keeps_finished_shards(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def failing(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        write(*args)

    write = engine.write_safetensors
    monkeypatch.setattr(engine, "write_safetensors", failing)
    target = tmp_path / "native"
    with pytest.raises(KeyboardInterrupt):
        convert_chatglm3(source, target, shard_bytes=100_000)
    assert not target.exists()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "native.part").glob("*.safetensors")}
    assert len(kept) == 2
    calls = 10
    convert_chatglm3(source, target, shard_bytes=100_000)
    assert all((target / p.name).stat().st_mtime_ns == t for p, t in kept.items())
    assert not (tmp_path / "native.part").exists()
    assert not list(target.glob(".*"))


def test_an_existing_target_is_not_touched(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ModelError, match="not there yet"):
        convert_chatglm3(source, tmp_path)


def test_a_damaged_result_does_not_verify(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_same", lambda a, b: False)
    with pytest.raises(ModelError, match="differs from its source"):
        convert_chatglm3(source, tmp_path / "native")
    assert not (tmp_path / "native").exists()


def change(folder: Path, edit: Any) -> Path:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda t: t.update({"transformer.prefix_encoder.embedding.weight": torch.ones(2, 2)}), "P-Tuning"),
        (lambda t: t.update({"transformer.word_embeddings.weight": torch.ones(2, 2)}), "not a tensor of ChatGLM3"),
        (lambda t: t.pop("transformer.output_layer.weight"), "missing"),
        (lambda t: t.update({"transformer.output_layer.weight": torch.ones(3, 64)}), "config.json asks"),
        (
            lambda t: t.update(
                {"transformer.output_layer.weight": t["transformer.output_layer.weight"].to(torch.int8)}
            ),
            "quantised",
        ),
        (
            lambda t: t.update({"transformer.encoder.layers.0.self_attention.query_key_value.bias": torch.ones(64)}),
            "config.json asks",
        ),
    ],
)
def test_other_layouts_are_refused_with_the_reason(tmp_path: Path, edit: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        convert_chatglm3(change(chatglm3(tmp_path / "source"), edit), tmp_path / "native")
    assert not (tmp_path / "native").exists()


def test_a_bin_file_that_would_run_code_is_refused(source: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    folder = other_form(source, tmp_path / "evil", "bin")
    torch.save({"transformer.output_layer.weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="would run code"):
        convert_chatglm3(folder, tmp_path / "native")
    assert not (tmp_path / "ran").exists()


def test_missing_and_cut_off_shards_are_named(source: Path, tmp_path: Path) -> None:
    folder = other_form(source, tmp_path / "shards", "shards")
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelError, match="model-00002-of-00003"):
        convert_chatglm3(folder, tmp_path / "native")
    cut = chatglm3(tmp_path / "cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(ModelError, match="unfinished download"):
        convert_chatglm3(cut.parent, tmp_path / "native")


def test_a_tokenizer_larger_than_the_model_is_a_warning(tmp_path: Path) -> None:
    folder = chatglm3(tmp_path / "source")
    config = json.loads((folder / "config.json").read_text())
    config["padded_vocab_size"] = 300
    (folder / "config.json").write_text(json.dumps(config))
    save_file(original_tensors(config), folder / "model.safetensors")
    done = convert_chatglm3(folder, tmp_path / "native")
    assert "fits only a model made for tests" in done.warnings[0]
    (folder / "tokenizer.model").unlink()
    assert "without a tokenizer" in convert_chatglm3(folder, tmp_path / "bare").warnings[0]


def test_the_long_variants_stretch_the_rotation(tmp_path: Path) -> None:
    done = convert_chatglm3(chatglm3(tmp_path / "source", rope_ratio=50, seq_length=32768), tmp_path / "native")
    config = json.loads((done.folder / "config.json").read_text())
    assert config["rope_parameters"]["rope_theta"] == 500000.0
    assert config["max_position_embeddings"] == 32768


def test_a_recipe_may_name_the_original_folder(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARME_CACHE", str(tmp_path))
    assert is_chatglm3(source)
    found = base_dir(str(source))
    assert found.is_relative_to(tmp_path)
    assert not is_chatglm3(found)
    made = (found / "model.safetensors").stat().st_mtime_ns
    assert base_dir(str(source)) == found
    assert (found / "model.safetensors").stat().st_mtime_ns == made


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    folder = chatglm3(tmp_path / "source", ffn_hidden_size=200_000)  # 77 MB a tensor
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    convert_chatglm3(folder, tmp_path / "native")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 120 * 1024


def adapter(
    folder: Path,
    source: Path,
    modules: tuple[str, ...],
    *,
    rank: int = 4,
    rslora: bool = False,
    form: str = "safetensors",
    **config: Any,
) -> Path:
    """A LoRA adapter as PEFT writes it for the remote code, with random A and B."""
    sizes = json.loads((source / "config.json").read_text())
    wide = sizes["num_attention_heads"] * sizes["kv_channels"]
    shapes = {
        "self_attention.query_key_value": (wide + 2 * sizes["multi_query_group_num"] * sizes["kv_channels"], 64),
        "self_attention.dense": (64, wide),
        "mlp.dense_h_to_4h": (2 * sizes["ffn_hidden_size"], 64),
        "mlp.dense_4h_to_h": (64, sizes["ffn_hidden_size"]),
    }
    draw = torch.Generator().manual_seed(1)
    tensors = {}
    for i in range(sizes["num_layers"]):
        for module in modules:
            key = f"base_model.model.transformer.encoder.layers.{i}.{module}"
            rows_, width = shapes[module]
            tensors[f"{key}.lora_A.weight"] = torch.randn(rank, width, generator=draw) * 0.1
            tensors[f"{key}.lora_B.weight"] = torch.randn(rows_, rank, generator=draw) * 0.1
            if config.get("use_dora"):
                tensors[f"{key}.lora_magnitude_vector"] = torch.rand(rows_, generator=draw) + 1
    folder.mkdir()
    if form == "bin":
        torch.save(tensors, folder / "adapter_model.bin")
    else:
        save_file(tensors, folder / "adapter_model.safetensors")
    whole = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 8, "use_rslora": rslora, "target_modules": list(modules),
        "base_model_name_or_path": "THUDM/chatglm3-6b", "bias": "none", "modules_to_save": None, **config,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(whole))
    return folder


FOUR = ("self_attention.query_key_value", "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")


@pytest.mark.parametrize(
    ("modules", "options"),
    [
        (FOUR, {}),
        (FOUR, {"rslora": True, "form": "bin"}),
        (FOUR[:1], {"rslora": True}),
        (FOUR[1:], {"rank": 7}),
        (FOUR, {"use_dora": True}),
    ],
)
def test_an_adapter_does_on_the_native_class_what_it_did_to_the_fused_weights(
    source: Path, tmp_path: Path, modules: tuple[str, ...], options: dict[str, Any]
) -> None:
    """Expected: fold the update into the *original* tensors by LoRA's definition, then convert those."""
    from safetensors.torch import load_file as load

    old = adapter(tmp_path / "old", source, modules, **options)
    native = convert_chatglm3(source, tmp_path / "native").folder
    found = convert_adapter(old, tmp_path / "new", native)
    assert ("q_proj" in found) == (FOUR[0] in modules)
    got = load_model(str(native), adapter=tmp_path / "new", merge=True, dtype="fp32", device="cpu").state_dict()

    parts = (
        load(old / "adapter_model.safetensors")
        if (old / "adapter_model.safetensors").is_file()
        else torch.load(old / "adapter_model.bin", weights_only=True)
    )
    rank = options.get("rank", 4)
    scale = 8 / (rank**0.5 if options.get("rslora") else rank)
    tensors = load_file(source / "model.safetensors")
    for key in [k.removesuffix(".lora_A.weight") for k in parts if k.endswith("lora_A.weight")]:
        name = key.removeprefix("base_model.model.") + ".weight"
        merged = tensors[name] + scale * parts[f"{key}.lora_B.weight"] @ parts[f"{key}.lora_A.weight"]
        if options.get("use_dora"):
            merged *= (parts[f"{key}.lora_magnitude_vector"] / merged.norm(dim=1))[:, None]
        tensors[name] = merged
    folder = other_form(source, tmp_path / "merged", "shards")
    shard(tensors, folder, ".safetensors")
    want = load_file(convert_chatglm3(folder, tmp_path / "want").folder / "model.safetensors")
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "P-Tuning"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["output_layer"]}, "modules_to_save"),
        ({"rank_pattern": {"dense": 2}}, "patterns"),
    ],
)
def test_adapters_without_an_equal_are_refused(
    source: Path, tmp_path: Path, config: dict[str, Any], reason: str
) -> None:
    native = convert_chatglm3(source, tmp_path / "native").folder
    with pytest.raises(ModelError, match=reason):
        convert_adapter(adapter(tmp_path / "old", source, FOUR, **config), tmp_path / "new", native)
    assert not (tmp_path / "new").exists()
