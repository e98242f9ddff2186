"""Commands: convert, export, models, bench-model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import JsonFlag, console, print_json

convert = typer.Typer(help="Make an original ChatGLM3 checkpoint or adapter fit transformers' own classes.")
models = typer.Typer(help="Chat templates and what is known of a model family.")
ModelArg = Annotated[
    str | None,
    typer.Argument(metavar="[RUN|MODEL]", help="A run, RUN:stage, a shipped name, a model directory or hub id."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.add_typer(convert, name="convert", no_args_is_help=True)
    app.add_typer(models, name="models", no_args_is_help=True)
    app.command("export")(export)
    app.command("bench-model")(bench_model)


@convert.command("chatglm3")
def convert_chatglm3(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="ChatGLM3 checkpoint directory as published.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Folder to write; must not be there yet.")],
    tokenizer: Annotated[Path | None, typer.Option(help="tokenizer.model, if it is not in SRC.")] = None,
    json_out: JsonFlag = False,
) -> None:
    """Convert a ChatGLM3-6B checkpoint to transformers' own Glm: lossless, a few MiB of memory, resumable."""
    from ..models.chatglm3 import convert_chatglm3 as run
    from ..models.convert import console_progress

    with console_progress("converting") as progress:
        done = run(source, target, tokenizer=tokenizer, progress=progress)
    if json_out:
        print_json(
            {"out": str(done.folder), "tensors": done.tensors, "bytes": done.bytes, "warnings": list(done.warnings)}
        )
        return
    for line in done.warnings:
        console(True).print(f"[yellow]![/yellow] {line}")
    console().print(f"[green]✓[/green] {done.tensors} tensors, {done.bytes / 1e9:.2f} GB, verified -> {done.folder}")


@convert.command("chatglm3-adapter")
def convert_adapter(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="LoRA adapter trained on ChatGLM3's remote code.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Folder to write; must not be there yet.")],
    base: Annotated[Path, typer.Option(help="The converted base (from `hearme convert chatglm3`).")],
    json_out: JsonFlag = False,
) -> None:
    """Convert a LoRA, rsLoRA or DoRA adapter (LLaMA-Factory's, the original project's) to the native class."""
    from ..models.chatglm3_adapter import convert_adapter as run

    modules = run(source, target, base)
    if json_out:
        print_json({"out": str(target), "target_modules": modules})
    else:
        console().print(f"[green]✓[/green] adapter on {', '.join(modules)} -> {target}")


@models.command("templates")
def list_templates(json_out: JsonFlag = False) -> None:
    """The packaged chat templates, with their control tokens and what ends a reply."""
    from ..models.template import load_template, template_names

    found = [load_template(n) for n in template_names()]
    if json_out:
        print_json([{"name": t.name, "special": t.special, "stop": [*t.stop, *t.stop_strings]} for t in found])
        return
    for t in found:
        print(f"{t.name:10} stops at {' '.join(map(repr, (*t.stop, *t.stop_strings)))}")


@models.command("list")
def list_models(json_out: JsonFlag = False) -> None:
    """Models on this machine, by the names that chat, export, serve and the rest take."""
    from dataclasses import asdict

    from ..models.listing import list_models as run

    found = list(run())
    if json_out:
        print_json([asdict(f) for f in found])
        return
    for f in found:
        print(f"{f.name:40} {f.kind}")


def export(
    model: ModelArg = None,
    format_: Annotated[
        str, typer.Option("--format", help="hf: merged safetensors; gguf: for llama.cpp, Ollama.")
    ] = "hf",
    quant: Annotated[
        list[str] | None,
        typer.Option(help="GGUF: f32 f16 bf16 q8_0 q6_k q5_0 q5_k_m q4_0 q4_k_m q3_k_m q2_k …; may be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default RUN/export/<stage>-<format>.")] = None,
    dtype: Annotated[
        str, typer.Option(help="hf: fp32, bf16, fp16, or auto: the base's, but fp32 up to a billion parameters.")
    ] = "auto",
    json_out: JsonFlag = False,
) -> None:
    """Merge the adapter and write a model that others can run, with tokenizer, template and model card."""
    from ..models.convert import console_progress
    from ..models.export import default_out
    from ..models.export import export as run
    from ..models.reference import resolve

    ref = resolve(model)
    with console_progress("exporting") as progress:
        done = run(
            ref, out or default_out(ref, format_), format_, quants=quant or ["q8_0"], dtype=dtype, progress=progress
        )
    if json_out:
        print_json({"out": str(done.folder), "files": done.files})
        return
    console().print(f"[green]✓[/green] {ref.name} -> {done.folder}")
    for name, size in done.files.items():
        console().print(f"  {name}  {size / 1e6:.1f} MB")


def bench_model(
    refs: Annotated[
        list[str], typer.Argument(metavar="RUN|MODEL...", help="Models to compare: runs, folders, .gguf files.")
    ],
    quant: Annotated[
        list[str] | None,
        typer.Option(help="Also export the first model to GGUF in this form and compare it; may be repeated."),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(help="Dialogues for BLEU and ROUGE; default: the test split, if the first model is a run."),
    ] = None,
    texts: Annotated[int, typer.Option(min=0, help="How many of them.")] = 20,
    suite: Annotated[int, typer.Option(min=0, help="Rows of the persona and of the crisis suite; 0: leave out.")] = 40,
    out: Annotated[Path | None, typer.Option(help="Write the rows to this JSON file.")] = None,
    json_out: JsonFlag = False,
) -> None:
    """What quantising costs: size, memory, first token, tokens/s, BLEU, ROUGE, persona and crisis suites, side by side."""
    from rich.table import Table

    from ..evals.bench import COLUMNS, bench
    from ..files import write_json
    from ..models.export import default_out, file_name
    from ..models.export import export as run
    from ..models.reference import resolve

    if quant:
        ref = resolve(refs[0])
        folder = default_out(ref, "gguf")
        missing = [q for q in quant if not (folder / f"{file_name(ref)}-{q.lower()}.gguf").is_file()]
        if missing:
            run(ref, folder, "gguf", quants=missing)
        refs = [*refs, *(str(folder / f"{file_name(ref)}-{q.lower()}.gguf") for q in quant)]
    split = Path(refs[0].partition(":")[0]) / "data" / "test.jsonl"
    test = test or (split if split.is_file() else None)
    err = console(True)
    rows = bench(
        refs,
        test_file=test if texts else None,
        texts=texts,
        suite=suite,
        on_row=lambda r: err.print(f"measured {r['model']}"),
    )
    if out:
        write_json(out, rows)
    if json_out:
        print_json(rows)
        return
    table = Table()  # measures downwards: twelve of them do not fit beside each other
    table.add_column(no_wrap=True)
    for row in rows:
        table.add_column(row["model"], overflow="fold", justify="right")
    for measure in COLUMNS[1:]:
        table.add_row(measure, *("–" if row[measure] is None else f"{row[measure]}" for row in rows))
    console().print(table)
