"""Exports: the merge by definition, number formats, Modelfile against Jinja, model card, and refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from family_models import FAMILIES
from safetensors.torch import load_file

from hearmeglm.errors import ModelError
from hearmeglm.models.export import default_out, export
from hearmeglm.models.load import load_model, load_tokenizer
from hearmeglm.models.merge import Weights, to_bytes
from hearmeglm.models.modelfile import go_template, modelfile
from hearmeglm.models.reference import ModelRef
from hearmeglm.models.template import load_template
from hearmeglm.types import Message

pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = FAMILIES[name](tmp_path_factory.mktemp(name) / "base")
        return made[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARME_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield make


def random_adapter(base: Path, folder: Path, **options: Any) -> Path:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model = get_peft_model(
        load_model(str(base), dtype="fp32", device="cpu"),
        LoraConfig(
            task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, **options
        ),
    )
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"use_dora": True}], ids=["lora", "rslora", "dora"])
def test_the_streamed_merge_is_pefts(bases: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    base = bases("gemma")
    adapter = random_adapter(base, tmp_path / "adapter", **options)
    want = load_model(str(base), adapter=adapter, dtype="fp32", device="cpu").state_dict()
    weights = Weights(base, adapter)
    moved = 0
    for name in weights.names:
        got = torch.from_numpy(weights.load(name).copy())
        torch.testing.assert_close(got, want[name], atol=1e-5, rtol=1e-5)
        moved += not torch.equal(got, load_file(base / "model.safetensors")[name])
    assert moved == 6 * 7


def test_an_adapter_of_another_base_is_refused(bases: Any, tmp_path: Path) -> None:
    adapter = random_adapter(bases("gemma"), tmp_path / "adapter")
    with pytest.raises(ModelError, match="does not fit this base"):
        Weights(bases("glm4"), adapter)


def test_rounding_is_torchs() -> None:
    value = torch.randn(1000)
    assert to_bytes(value.numpy(), "BF16") == value.bfloat16().view(torch.uint8).numpy().tobytes()
    assert to_bytes(value.numpy(), "F16") == value.half().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize(("dtype", "stored"), [("auto", "F32"), ("bf16", "BF16"), ("fp16", "F16")])
def test_an_exported_folder_is_a_model_like_any_other(bases: Any, tmp_path: Path, dtype: str, stored: str) -> None:
    base = bases("gemma")
    (base / "NOTICE").write_text("a notice")
    adapter = random_adapter(base, tmp_path / "adapter")
    done = export(ModelRef("hf", "run:stage2", str(base), adapter), tmp_path / "out", dtype=dtype, shard_bytes=60_000)
    assert {Weights(done.folder).spec(n).dtype for n in Weights(done.folder).names} == {stored}
    assert len(list(done.folder.glob("model-*.safetensors"))) > 1
    assert (done.folder / "NOTICE").read_text() == "a notice"
    text = (done.folder / "README.md").read_text(encoding="utf-8")
    assert "a notice" in text
    assert "危机" in text
    tokenizer = load_tokenizer(str(done.folder))
    assert tokenizer.chat_template == load_template("gemma").jinja
    model = load_model(str(done.folder), dtype="fp32", device="cpu")
    want = load_model(str(base), adapter=adapter, merge=False, dtype="fp32", device="cpu")
    ids = torch.arange(2, 30)[None]
    loose = {"F32": 1e-4, "BF16": 1.0, "F16": 0.1}[stored]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, want(ids).logits, atol=loose, rtol=0)
    with pytest.raises(ModelError, match="not there yet"):
        export(ModelRef("hf", "x", str(base), adapter), tmp_path / "out")


def test_a_run_is_exported_inside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("")
    ref = ModelRef("hf", "run:stage2", "starter", tmp_path / "stage2" / "adapter")
    assert default_out(ref, "gguf") == tmp_path / "export" / "stage2-gguf"
    assert default_out(ModelRef("hf", "org:x", "starter"), "hf") == Path("export/org-x-hf")


def test_what_cannot_be_exported_is_one_line(bases: Any, tmp_path: Path) -> None:
    ref = ModelRef("hf", "x", str(bases("gemma")))
    for options, reason in (({"fmt": "onnx"}, "expected a format"), ({"dtype": "int8"}, "number format")):
        with pytest.raises(ModelError, match=reason):
            export(ref, tmp_path / "out", **options)
    with pytest.raises(ModelError, match="expected a quantisation"):
        export(ref, tmp_path / "out", "gguf", quants=["q8_0", "nonsense"])
    with pytest.raises(ModelError, match="Hugging Face weights"):
        export(ModelRef("remote", "x", "http://localhost/v1"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


TALK = [Message("system", "你好"), Message("user", "a"), Message("assistant", "b"), Message("user", "c")]


def as_jinja(go: str) -> str:
    """The few Go constructs that a Modelfile of ours uses, said in Jinja."""
    go = go.replace("{{ range .Messages }}", "{% for m in messages %}").replace("{{ .Content }}", "{{ m['content'] }}")
    go = re.sub(
        r'\{\{ (else )?if eq \.Role "(\w+)" \}\}',
        lambda m: f"{{% {'el' if m[1] else ''}if m['role'] == '{m[2]}' %}}",
        go,
    )
    go = go.replace('{{ $system := "" }}', "{% set ns = namespace(s='') %}").replace(
        '{{ $system = "" }}', "{% set ns.s = '' %}"
    )
    go = go.replace("{{ $system = .Content }}", "{% set ns.s = m['content'] %}").replace(
        "{{ if $system }}", "{% if ns.s %}"
    )
    go = (
        go.replace("{{ $system }}", "{{ ns.s }}")
        .replace("{{ if .Content }}", "{% if m['content'] %}")
        .replace("{{ else }}", "{% else %}")
    )
    ends = iter(["if"] * go.count("{{ end }}"))
    opened: list[str] = []

    def close(match: re.Match[str]) -> str:
        if match[0].startswith("{% for"):
            opened.append("endfor")
        elif match[0].startswith("{% if"):
            opened.append("endif")
        elif match[0] == "{{ end }}":
            next(ends)
            return f"{{% {opened.pop()} %}}"
        return match[0]

    return re.sub(r"\{%.*?%\}|\{\{ end \}\}", close, go)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_modelfile_says_what_the_jinja_says(bases: Any, name: str) -> None:
    from jinja2 import Environment

    template, tokenizer = load_template(name), load_tokenizer(str(bases(name)))
    go = go_template(template, tokenizer)
    messages = [m.to_json() for m in TALK]
    said = Environment(keep_trailing_newline=True).from_string(as_jinja(go)).render(messages=messages)
    want = tokenizer.apply_chat_template(
        messages, chat_template=template.jinja, tokenize=False, add_generation_prompt=True
    )
    if template.begin == tokenizer.bos_token and template.begin:
        want = want.removeprefix(template.begin)  # the engine writes it
    assert said == want
    text = modelfile("x.gguf", template, tokenizer, system="你是 Jerry")
    assert text.startswith("FROM ./x.gguf\n")
    assert all(f"PARAMETER stop {json.dumps(s)}" in text for s in template.stop)
